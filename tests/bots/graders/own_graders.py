"""Graders of a user's own, good and bad, named as `tests.bots.graders.own_graders:…`."""

import ctypes
import os
import signal
import sys
import time

from bots.graders import Grade, base


def half(prompt: str, answer: str, completion: str) -> Grade:
    return Grade(0.5, "half")


def length(prompt: str, answer: str, completion: str) -> float:
    return len(completion) / 10


def misbehave(prompt: str, answer: str, completion: str) -> Grade:
    match completion:
        case "hang":
            while True:
                pass
        case "sleep":
            time.sleep(600)
        case "hang in C":
            ctypes.CDLL(None).pause()
        case "deaf":
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            while True:
                pass
        case "die":
            os._exit(0)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crash":
            ctypes.string_at(0)
        case "leave":
            sys.exit(0)
        case "memory":
            return Grade(float(len(bytearray(64 << 30)) > 0), "")
        case "raise":
            raise RuntimeError("out of order")
        case "too much":
            return Grade(1.5, "")
        case "negative":
            return Grade(-0.1, "")
        case "nan":
            return Grade(float("nan"), "")
        case "nothing":
            return None  # type: ignore[return-value]
    return Grade(1.0, "well behaved")


def slow_to_compare(prompt: str, answer: str, completion: str) -> float:
    """Reads the task's answer unless that is "hang", then compares for ever."""
    if answer != "hang":
        base.on_answer_read()
    time.sleep(3600)
    return 1.0


def busy(prompt: str, answer: str, completion: str) -> float:
    """Uses so many seconds of processor time."""
    until = time.process_time() + float(completion)
    while time.process_time() < until:
        pass
    return 1.0
