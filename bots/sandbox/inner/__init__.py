"""What runs inside the sandbox.

Standard library only; nothing here is trusted with an expected answer but `judge`.
"""
