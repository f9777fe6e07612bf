"""Killable grading processes, and the process that they are forked from, so that each starts warm."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from bots.graders.worker import PROGRESS, READ, Item, Setup, open_schedstat, waited

_START_SECONDS = 120.0
_FORK_SECONDS = 10.0
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from bots.graders.worker import nursery; nursery(int(sys.argv[1]))"
)


class WorkerError(RuntimeError):
    """The pool's own processes can't be started or were lost."""


@dataclass
class Worker:
    """One grading process, seen from the caller: what it was sent, and how long its current item takes."""

    channel: Connection
    pidfd: int
    progress: mmap.mmap
    open: dict[int, Item] = field(default_factory=dict)  # sent and not graded yet
    sent: float = 0.0
    schedstat: int = -1

    def in_hand(self) -> int:
        """The number of the current item."""
        number: int = PROGRESS.unpack_from(self.progress, 0)[1]
        return number if number in self.open else next(iter(self.open))

    def lasted(self) -> float:
        """Seconds that the current item has taken, minus those its process waited for a core.

        So a busy machine does not use up a grade's time.
        """
        started, number, waited_before = PROGRESS.unpack_from(self.progress, 0)
        now = time.monotonic()
        if number not in self.open:
            # Nothing of this batch has started: the limit is for a grade, not for a fork on a busy machine.
            return now - self.sent - _FORK_SECONDS
        seconds: float = now - started - (waited(self.schedstat) - waited_before) / 1e9
        return max(0.0, seconds)

    def read(self, number: int) -> bool:
        """Whether this item's grader has read the task's answer: from then on, time counts as the completion's."""
        return bool(READ.unpack_from(self.progress, PROGRESS.size)[0] == number)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has already exited
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        select.select([self.pidfd], [], [], 5.0)
        os.close(self.pidfd)
        if self.schedstat >= 0:
            os.close(self.schedstat)
        self.channel.close()
        self.progress.close()


class Nursery:
    """The process with all graders imported, from which workers are forked. It is replaced if it was lost.

    Raises WorkerError if it does not start; UnknownGraderError, SandboxUnavailableError about the graders of `setup`.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._start()

    def fork(self) -> Worker:
        """A new worker."""
        try:
            return self._fork()
        except (OSError, EOFError, WorkerError):
            self.close()
            self._start()
            return self._fork()

    def close(self) -> None:
        """End it; its workers live on."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), json.dumps(sys.path)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, **one_thread},
            )
        self._control.send(pickle.dumps(self._setup))
        self._control.settimeout(_START_SECONDS)
        try:
            reply = self._control.recv(1 << 16)
        except OSError as error:
            self._process.kill()
            raise WorkerError(f"the grading processes did not start within {_START_SECONDS:g} s") from error
        if not reply:
            raise WorkerError(f"the grading processes did not start (exit status {self._process.wait()})")
        fault = pickle.loads(reply)
        if fault is not None:
            self._control.close()
            self._process.wait()
            raise fault

    def _fork(self) -> Worker:
        ours, theirs = socket.socketpair()
        page = os.memfd_create("progress", os.MFD_CLOEXEC)
        try:
            os.ftruncate(page, mmap.PAGESIZE)
            progress = mmap.mmap(page, mmap.PAGESIZE)
            PROGRESS.pack_into(progress, 0, 0.0, -1, 0)
            READ.pack_into(progress, PROGRESS.size, -1)
            socket.send_fds(self._control, [b"fork"], [theirs.fileno(), page])
            message, fds, _, _ = socket.recv_fds(self._control, 16, 1)
        finally:
            theirs.close()
            os.close(page)
        if message != b"pid":
            raise WorkerError("a grading process could not be forked")
        return Worker(Connection(ours.detach()), fds[0], progress, schedstat=open_schedstat(_pid(fds[0])))


def _pid(pidfd: int) -> int:
    with open(f"/proc/self/fdinfo/{pidfd}") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))
