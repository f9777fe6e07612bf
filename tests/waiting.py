"""Waiting for something that a job brings about."""

import time

# Only a fault reaches it: a busy machine has taken four times as long as an idle one. Below the limit of a whole
# test (pyproject.toml), so that the failure says what was waited for.
PATIENCE_S = 400


def wait_for(condition, what, seconds=PATIENCE_S, every=0.2):
    """Wait for a condition, within a bound in seconds; returns what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(every)
    return found
