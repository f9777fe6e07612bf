"""A warm interpreter that forks one isolated child per program. It never sees a program or a test.

It handles only file descriptors. The child alone reads them, after the isolation is set up, so that nothing of one
program (or of its tests) remains in the memory from which the next one is forked.

Control messages are JSON, one per packet. `{"id", "role", "limits"}` with descriptors starts a program, and
`{"kill": id}` ends one. The reply is `{"id", "status", "cpu", "rss"}` when the program has ended, or `{"id", "error"}`
if it never started.
"""

from __future__ import annotations

import _sitebuiltins
import bisect
import builtins
import collections
import copy
import datetime
import decimal
import fractions
import functools
import gc
import heapq
import io
import itertools
import json
import math
import operator
import os
import random
import re
import resource
import select
import signal
import socket
import statistics
import string
import sys
import threading
import typing

from . import box, calls, judge, stdio

# Imported once here, so that no program has to pay for it.
_PRELOADED = (
    bisect, collections, copy, datetime, decimal, fractions, functools, heapq, io, itertools, math, operator,
    random, re, statistics, string, threading, typing,
)  # fmt: skip
_MOST_FILES = 1024
_ROLES: dict[str, tuple[typing.Callable[[], int], tuple[int, ...]]] = {
    # role → function to run, and the numbers that its descriptors get
    "stdio": (stdio.main, (3, 0, 1, 2)),
    "calls": (calls.main, (3, 4, 2)),
    "judge": (judge.main, (3, 4, 5, 2)),
}


def main() -> None:
    control = socket.socket(fileno=_low(int(sys.argv[1])))
    _close_others(control.fileno())
    isolation: box.Isolation = json.loads(sys.argv[2])
    home = -1
    if isolation["namespaces"]:
        home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        box.unmount("/proc")
    # Programs use these to exit; they come with site-packages, which is switched off.
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D")
    gc.collect()
    gc.freeze()
    control.send(b'{"ready": true}')
    _serve(control, isolation, home)


def _low(fd: int) -> int:
    """Duplicate a descriptor to the lowest free number."""
    low = os.dup(fd)
    os.close(fd)
    return low


def _close_others(control: int) -> None:
    """Close everything but the control socket and the standard streams, whatever the host's process had open.

    From here on, all descriptor numbers are below the limit, so a child that closes up to it has closed everything.
    """
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != control:
            _close(int(name))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_MOST_FILES, hard), hard))


def _serve(control: socket.socket, isolation: box.Isolation, home: int) -> None:
    running: dict[int, tuple[int, int]] = {}  # id → (process, its pidfd)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        for number, (pid, pidfd) in list(running.items()):
            if pidfd in ready:
                _, status, usage = os.wait4(pid, 0)
                poll.unregister(pidfd)
                os.close(pidfd)
                del running[number]
                cpu = usage.ru_utime + usage.ru_stime
                _say(control, id=number, status=status, cpu=cpu, rss=usage.ru_maxrss * 1024)
        if control.fileno() in ready:
            message, fds, _, _ = socket.recv_fds(control, 4096, 8)
            if not message:
                os._exit(0)  # the host is gone
            request = json.loads(message)
            if "kill" in request:
                if request["kill"] in running:
                    os.kill(running[request["kill"]][0], signal.SIGKILL)
                continue
            try:
                pid = _start(request, fds, isolation, home)
            except OSError as error:
                _say(control, id=request["id"], error=str(error))
            else:
                pidfd = os.pidfd_open(pid)
                poll.register(pidfd, select.POLLIN)
                running[request["id"]] = (pid, pidfd)
            finally:
                for fd in fds:
                    os.close(fd)


def _say(control: socket.socket, **message: object) -> None:
    control.send(json.dumps(message).encode())


def _start(request: dict[str, typing.Any], fds: list[int], isolation: box.Isolation, home: int) -> int:
    """Fork the child and wait until its isolation is complete. Raises OSError if that fails."""
    run, targets = _ROLES[request["role"]]
    told, tell = os.pipe2(os.O_CLOEXEC)
    try:
        if home >= 0:
            box.unshare_pids()
        pid = os.fork()
        if pid == 0:
            _child(run, dict(zip(targets, fds, strict=True)), isolation, request["limits"], tell)
        if home >= 0:
            box.return_to_pids(home)
    finally:
        os.close(tell)
    with open(told, "rb") as pipe:
        failure = pipe.read()
    if failure:
        os.waitpid(pid, 0)
        raise OSError(failure.decode())
    return pid


def _child(
    run: typing.Callable[[], int],
    fds: dict[int, int],
    isolation: box.Isolation,
    limits: box.ProcessLimits,
    tell: int,
) -> typing.NoReturn:
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        high = {target: os.dup(fd) for target, fd in fds.items()}
        tell_high = max([tell, nothing, *high.values()]) + 1
        os.dup2(tell, tell_high)
        for target in (0, 1, 2, 3, 4, 5):
            if target in high:
                os.dup2(high[target], target)
            elif target <= 2:
                os.dup2(nothing, target)
            else:
                _close(target)
        for fd in range(6, tell_high):
            _close(fd)
        os.closerange(tell_high + 1, _MOST_FILES)
        try:
            box.enter(isolation, limits)
        except BaseException as error:  # noqa: BLE001 whatever it was, the host must know that there is no isolation
            os.write(tell_high, f"{type(error).__name__}: {error}".encode())
            os._exit(1)
        os.close(tell_high)
        status = run()
    finally:
        os._exit(status)


def _close(fd: int) -> None:
    if fd >= 0:
        os.closerange(fd, fd + 1)


if __name__ == "__main__":
    main()
