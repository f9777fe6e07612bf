"""A sandbox that runs untrusted programs one after another, each in a fresh isolation. See docs/sandbox.md."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from io import FileIO
from typing import Any

from bots.sandbox.limits import Ending, Limits, Outcome, Verdict
from bots.sandbox.zygote import Zygote, pipe

_STDERR_KEPT = 4096  # bytes: the end of a program's standard error, for the reason
_GRACE_SECONDS = 5.0  # for the zygote to end a program on request


class SandboxFaultError(RuntimeError):
    """The sandbox itself broke; nothing is known about the program."""


class _Running:
    """One started program, from the host's side."""

    def __init__(self) -> None:
        self.stopped: Ending | None = None
        self.report: dict[str, Any] | None = None


class Sandbox:
    """A warm sandbox. It runs one program at a time; create one sandbox for each process that needs one.

    Raises SandboxUnavailableError if programs can't be isolated here. `unsafe_without_isolation` starts programs
    without bubblewrap and namespaces, with this user's rights: only the limits and, where possible, the system call
    filter remain. Never use it for programs that you would not run yourself.
    """

    def __init__(self, limits: Limits | None = None, *, unsafe_without_isolation: bool = False) -> None:
        self.limits = limits or Limits()
        self._unsafe = unsafe_without_isolation
        self._ids = itertools.count()
        self._zygote = self._start()

    # --- running programs -------------------------------------------------------------------------------

    def run(self, source: str, stdin: str = "") -> Outcome:
        """Run `source` as a script with `stdin`; raises SandboxFaultError if the sandbox itself fails."""
        with contextlib.ExitStack() as files:
            out_read, out_write = pipe(files)
            err_read, err_write = pipe(files)
            fds = [_file(files, "source", source), _file(files, "stdin", stdin)]
            fds += [out_write.fileno(), err_write.fileno()]
            number, running = self._launch("stdio", fds)
            out_write.close()
            err_write.close()
            stdout, stderr = bytearray(), bytearray()
            deadline = time.monotonic() + self.limits.wall_seconds
            self._attend({number: running}, {out_read.fileno(): stdout, err_read.fileno(): stderr}, deadline)
        return self._outcome(running, stdout, stderr)

    def test_calls(self, source: str, tests: str, prefix: str = "", names: Sequence[str] = ()) -> Verdict:
        """Run `tests` (assert statements that call the solution) against `source`, in two separate programs.

        The solution's program never sees the tests: calls and their results travel as data. prefix: the task's own
        code; each side gets its own copy. names: the names that, according to the task, the solution defines.
        """
        with contextlib.ExitStack() as files:
            ours, theirs = socket.socketpair()
            files.callback(ours.close)
            files.callback(theirs.close)
            verdict_read, verdict_write = pipe(files)
            err_read, err_write = pipe(files)
            judge_err_read, judge_err_write = pipe(files)
            given = {"source": source, "prefix": prefix}
            solution = [_file(files, "source", json.dumps(given)), theirs.fileno(), err_write.fileno()]
            asked = {"tests": tests, "prefix": prefix, "names": list(names)}
            judging = [_file(files, "tests", json.dumps(asked)), ours.fileno()]
            judging += [verdict_write.fileno(), judge_err_write.fileno()]
            programs: dict[int, _Running] = {}
            try:
                first, candidate = self._launch("calls", solution)
                programs[first] = candidate
                second, judge = self._launch("judge", judging)
                programs[second] = judge
            except SandboxFaultError:
                self.restart()
                raise
            ours.close()
            theirs.close()
            for end in (verdict_write, err_write, judge_err_write):
                end.close()
            verdict, stderr, judge_stderr = bytearray(), bytearray(), bytearray()
            deadline = time.monotonic() + self.limits.wall_seconds
            ends = (verdict_read, err_read, judge_err_read)
            kept = (verdict, stderr, judge_stderr)
            pipes = {end.fileno(): bytes_ for end, bytes_ in zip(ends, kept, strict=True)}
            self._attend(programs, pipes, deadline, leader=second)
        return self._verdict(candidate, judge, verdict, stderr, judge_stderr)

    def _verdict(
        self,
        candidate: _Running,
        judge: _Running,
        verdict: bytearray,
        stderr: bytearray,
        judge_stderr: bytearray,
    ) -> Verdict:
        tested = self._outcome(candidate, bytearray(), stderr)
        if judge.stopped == "wall_time":
            return Verdict(False, "time limit exceeded (wall time)")
        try:
            result = json.loads(bytes(verdict))
        except ValueError:
            judging = self._outcome(judge, bytearray(), judge_stderr)
            if judging.ending in ("cpu_time", "wall_time"):
                # The solution sent too much to compare: its fault, not the judge's.
                return Verdict(False, f"comparing the results: {judging.explain()}")
            return Verdict(False, f"the tests did not come to an end: {judging.explain()}", broken=True)
        reason = str(result["reason"])
        if result["verdict"] != "pass" and "has ended" in reason and tested.ending != "signal":
            reason += f" ({tested.explain()})"
        return Verdict(result["verdict"] == "pass", reason, broken=result["verdict"] == "broken")

    def _launch(self, role: str, fds: list[int]) -> tuple[int, _Running]:
        number = next(self._ids)
        limits = {
            "cpu_seconds": self.limits.cpu_seconds,
            "memory_bytes": self.limits.memory_bytes,
            "file_bytes": self.limits.scratch_bytes,
        }
        request = json.dumps({"id": number, "role": role, "limits": limits}).encode()
        try:
            socket.send_fds(self._zygote.control, [request], fds)
        except OSError as error:
            self.restart()
            raise SandboxFaultError(f"the sandbox has ended: {error}") from error
        return number, _Running()

    def _attend(
        self,
        programs: dict[int, _Running],
        pipes: dict[int, bytearray],
        deadline: float,
        leader: int | None = None,
    ) -> None:
        """Collect output and exit statuses until every program has ended; stop them at the deadline.

        When the `leader` ends, the others are stopped: they have nobody left to talk to.
        """
        poll = select.poll()
        poll.register(self._zygote.control, select.POLLIN)
        for fd in pipes:
            os.set_blocking(fd, False)
            poll.register(fd, select.POLLIN)
        first = next(iter(pipes))
        killed_at = float("inf")
        while any(program.report is None for program in programs.values()):
            now = time.monotonic()
            if now > killed_at + _GRACE_SECONDS:
                self.restart()
                raise SandboxFaultError("the sandbox did not end a program when told to")
            ready = dict(poll.poll(max(0.0, min(deadline, killed_at + _GRACE_SECONDS) - now) * 1000 + 1))
            for fd, kept in pipes.items():
                if fd in ready:
                    limit = self.limits.output_bytes if fd == first else None
                    if not _collect(fd, kept, limit):
                        poll.unregister(fd)
                    if limit is not None and len(kept) > limit and killed_at == float("inf"):
                        killed_at = self._stop(programs, "output")
            if self._zygote.control.fileno() in ready:
                ended = self._hear(programs)
                if ended == leader and killed_at == float("inf"):
                    killed_at = self._stop(programs, "signal")
            if time.monotonic() >= deadline and killed_at == float("inf"):
                killed_at = self._stop(programs, "wall_time")
                deadline = float("inf")
            elif killed_at != float("inf"):
                deadline = float("inf")
        for fd, kept in pipes.items():
            _collect(fd, kept, self.limits.output_bytes if fd == first else None)

    def _stop(self, programs: dict[int, _Running], why: Ending) -> float:
        for number, program in programs.items():
            if program.report is None:
                program.stopped = why
                try:
                    self._zygote.control.send(json.dumps({"kill": number}).encode())
                except OSError as error:
                    self.restart()
                    raise SandboxFaultError(f"the sandbox has ended: {error}") from error
        return time.monotonic()

    def _hear(self, programs: dict[int, _Running]) -> int:
        try:
            message = self._zygote.control.recv(4096)
        except OSError:
            message = b""
        if not message:
            self.restart()
            raise SandboxFaultError("the sandbox has ended by itself")
        report = json.loads(message)
        if "error" in report:
            self.restart()
            raise SandboxFaultError(f"a program could not be confined: {report['error']}")
        programs[report["id"]].report = report
        number: int = report["id"]
        return number

    def _outcome(self, running: _Running, stdout: bytearray, stderr: bytearray) -> Outcome:
        report = running.report
        assert report is not None
        status, cpu = report["status"], report["cpu"]
        ending: Ending
        if running.stopped is not None:
            ending, code = running.stopped, 0
        elif os.WIFEXITED(status):
            ending, code = "exit", os.WEXITSTATUS(status)
        else:
            code = os.WTERMSIG(status)
            late = code in (signal.SIGKILL, signal.SIGXCPU) and cpu >= self.limits.cpu_seconds - 0.5
            ending = "cpu_time" if late else "signal"
        out = bytes(stdout[: self.limits.output_bytes])
        text = stderr[-_STDERR_KEPT:].decode(errors="replace")
        return Outcome(ending, code, out, text, cpu, report["rss"])

    def _start(self) -> Zygote:
        return Zygote(self.limits.scratch_bytes, unsafe_without_isolation=self._unsafe)

    def restart(self) -> None:
        """End everything inside and start over."""
        self.close()
        self._zygote = self._start()

    def close(self) -> None:
        """End the sandbox and whatever runs in it. It can't be used afterwards."""
        self._zygote.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _file(files: contextlib.ExitStack, name: str, text: str) -> int:
    """An anonymous file holding `text`, sealed so that no reader can change it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    file = files.enter_context(FileIO(fd, "wb"))
    view = memoryview(text.encode(errors="replace"))
    while view:
        view = view[file.write(view) :]
    file.seek(0)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _collect(fd: int, kept: bytearray, limit: int | None) -> bool:
    """Read the available bytes into `kept`: up to just over `limit`, or only the last ones. False at end of file."""
    while limit is None or len(kept) <= limit:
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        kept += data
        if limit is None:
            del kept[:-_STDERR_KEPT]
    return True
