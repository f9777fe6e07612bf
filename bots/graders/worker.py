"""Inside the grading processes: a nursery that imports the graders once, and the workers forked from it.

The nursery has one thread and grades nothing. So replacing a killed worker takes just a fork, whatever the state of the
process that asked for it.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import math
import mmap
import os
import pickle
import re
import resource
import signal
import socket
import struct
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

from bots.graders import base, code, judge
from bots.graders.base import Grade, printable
from bots.graders.registry import preflight, resolve

PROGRESS = struct.Struct(
    "=dqq"
)  # start time of the current item (monotonic), its number, and `waited` at that time
READ = struct.Struct("=q")  # after it: number of the last item whose answer the grader has read
_PR_SET_PDEATHSIG = 1
_FLUSH_SECONDS = 0.002


def waited(schedstat: int) -> int:
    """Nanoseconds a process was runnable without a core, from its open `/proc/PID/schedstat`; 0 if unknown."""
    try:
        return int(os.pread(schedstat, 64, 0).split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def open_schedstat(pid: int | str) -> int:
    """The descriptor for `waited`; -1 if the kernel does not provide it."""
    try:
        return os.open(f"/proc/{pid}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


Item = tuple[str, str, str, str]
"""(grader's name, prompt, answer, completion)"""
Verdict = tuple[int, float | None, str, float]
"""(number, reward or None, reason, seconds).

A message to the pool is a list of these and whether the worker exits.
"""


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings of the nursery and its workers, passed at their start."""

    graders: tuple[str, ...]
    memory_bytes: int
    code: code.CodeOptions
    judge: judge.JudgeOptions | None = None


def nursery(control_fd: int) -> None:
    """Serve fork requests until the owner closes its end.

    Each request brings a worker's channel and progress page.
    """
    control = socket.socket(fileno=control_fd)
    setup: Setup = pickle.loads(control.recv(1 << 16))
    code.configure(setup.code)
    judge.configure(setup.judge)
    try:
        preflight(setup.graders)
    except Exception as error:  # noqa: BLE001 it is raised again where the pool is made
        control.send(pickle.dumps(error))
        return
    if any(
        part in ("math", "any_of:math") for name in setup.graders for part in re.findall(r"[\w.:]+", name)
    ):
        importlib.import_module("bots.graders.math").warm()  # once, for all workers forked from here
    control.send(pickle.dumps(None))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no exit status needed: the owner watches each pidfd
    gc.collect()
    gc.freeze()
    while True:
        message, fds, _, _ = socket.recv_fds(control, 16, 2)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            try:
                control.close()
                _work(Connection(fds[0]), mmap.mmap(fds[1], mmap.PAGESIZE), setup)
            finally:
                os._exit(1)
        for fd in fds:
            os.close(fd)
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            control.send(b"gone")
        else:
            socket.send_fds(control, [b"pid"], [pidfd])
            os.close(pidfd)


def _work(channel: Connection, progress: mmap.mmap, setup: Setup) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Only the soft limit: the sandbox, which is started from here, has its own limits.
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + setup.memory_bytes, hard))
    schedstat = open_schedstat("self")
    while True:
        try:
            batch: list[tuple[int, Item]] = channel.recv()
        except EOFError:
            code.close()
            os._exit(0)
        verdicts: list[Verdict] = []
        flushed = time.monotonic()
        for number, item in batch:
            now = time.monotonic()
            if verdicts and now - flushed > _FLUSH_SECONDS:
                channel.send((verdicts, False))
                verdicts, flushed = [], now
            PROGRESS.pack_into(progress, 0, now, number, waited(schedstat))
            base.on_answer_read = functools.partial(READ.pack_into, progress, PROGRESS.size, number)
            reward, reason, healthy = _grade(item)
            verdicts.append((number, reward, reason, time.monotonic() - now))
            if not healthy:
                channel.send((verdicts, True))
                code.close()
                os._exit(0)  # frees its memory; another worker takes over
        channel.send((verdicts, False))


def _grade(item: Item) -> tuple[float | None, str, bool]:
    """(reward or None, reason, whether this process can still be trusted)."""
    name, prompt, answer, completion = item
    try:
        verdict = resolve(name)(prompt, answer, completion)
        if isinstance(verdict, Grade):
            reward, reason = float(verdict.reward), printable(str(verdict.reason))
        else:
            reward, reason = float(verdict), ""
    except MemoryError:
        return None, f"grader {name!r} ran out of memory", False
    except Exception as error:  # noqa: BLE001 a grader's fault is a counted failure, not the end of the run
        return None, f"grader {name!r} failed: {type(error).__name__}: {printable(str(error))}", True
    except BaseException as error:  # noqa: BLE001 SystemExit, KeyboardInterrupt and their like
        return None, f"grader {name!r} failed: {type(error).__name__}", False
    if not (math.isfinite(reward) and 0.0 <= reward <= 1.0):
        return None, f"grader {name!r} gave the reward {reward}, not one in [0, 1]", True
    return reward, reason, True


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * mmap.PAGESIZE
