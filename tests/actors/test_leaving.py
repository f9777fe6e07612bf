"""A process that leaves its memory to the system ends in every other way as Python does."""

import os
import subprocess
import sys

import pytest

BEGIN = """
import atexit, sys, threading, time
from actors.leaving import leave
atexit.register(lambda: print("exit function"))
def late():
    time.sleep(0.2)
    print("thread")
threading.Thread(target=late).start()
print("text", end=" ")
"""


@pytest.mark.parametrize("status", [0, 3])
def test_threads_exit_functions_and_streams(status):
    done = subprocess.run(
        [sys.executable, "-c", f"{BEGIN}\nleave({status})"],
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert done.stdout.split("\n") == ["text thread", "exit function", ""]
    assert done.stderr == ""


def test_output_that_cannot_be_written_is_no_success():
    code = "from actors.leaving import leave; print('text'); leave(0)"
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], env=buffered, stdout=full, check=False)
    assert done.returncode == 120
