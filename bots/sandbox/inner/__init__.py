"""What runs inside the sandbox.

Standard library only. Only `judge` is trusted with expected answers.
"""
