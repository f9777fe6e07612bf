"""The whole suite as two pytest processes side by side: the tests that start a Ray, and all others.

Tests with Ray wait a good part of their time for processes to start and to end, one after another. The other half uses
what that leaves of two cores. The real runs are all in one half: two at once slow down each other's starts until Ray's
limits of 30 s end them. Every line of output begins with the half that it comes from. The names of failed tests are
repeated at the end, since one half prints for minutes after the other. Arguments go to both:
`python -m tests.halves -x`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

HALVES = {"ray": "ray", "rest": "not ray"}
"""The name of each half, and its `-m`."""
GIVES_WAY = {"rest": 15}
"""By how much a half is nicer: as much as Ray's workers, which would otherwise get only what it leaves."""


def _start(name: str, arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-m", HALVES[name], *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=lambda: os.nice(GIVES_WAY.get(name, 0)),
    )


def _show(name: str, process: subprocess.Popen[str], started: float, failed: list[str]) -> None:
    """Print a half's lines as they come; `failed` receives those that name a failed test."""
    assert process.stdout
    for line in process.stdout:
        print(f"{name:4s} | {line}", end="", flush=True)
        if line.startswith(("FAILED ", "ERROR ")):
            failed.append(f"{name:4s} | {line}")
    print(f"{name:4s} | exit status {process.wait()} after {time.monotonic() - started:.0f} s", flush=True)


def status(codes: list[int]) -> int:
    """The exit status of the whole: 0 if no half failed and any test was run."""
    nothing = int(pytest.ExitCode.NO_TESTS_COLLECTED)
    failed = [code for code in codes if code not in (0, nothing)]
    if failed:
        # A half that a signal ended has a negative code, which `make` must not mistake for success.
        return failed[0] if failed[0] > 0 else 128 - failed[0]
    return 0 if 0 in codes else nothing


def main(arguments: list[str]) -> int:
    """Run both halves to their ends; returns the exit status."""
    started = time.monotonic()
    processes = {name: _start(name, arguments) for name in HALVES}
    failed: list[str] = []
    shown = [
        threading.Thread(target=_show, args=(name, one, started, failed)) for name, one in processes.items()
    ]

    def pass_on(number: int, _: object) -> None:
        for one in processes.values():
            one.send_signal(signal.SIGINT)

    # Ctrl-C reaches the halves by itself, since they share the terminal; each then ends its Ray and reports.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, pass_on)
    for thread in shown:
        thread.start()
    for thread in shown:
        thread.join()
    print(end="".join(failed), flush=True)
    return status([one.wait() for one in processes.values()])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
