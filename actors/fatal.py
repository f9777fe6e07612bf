"""What ends a run at once."""


class FatalError(RuntimeError):
    """An error that a restart of the learner group cannot mend: the run ends with it instead of trying again."""
