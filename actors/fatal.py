"""Errors that end a run at once."""


class FatalError(RuntimeError):
    """An error that restarting the learner group cannot fix: the run ends instead of retrying."""
