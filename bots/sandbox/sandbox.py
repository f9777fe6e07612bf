"""A sandbox that runs hostile programs one after the other, each behind fresh walls. See docs/sandbox.md."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from io import FileIO
from typing import Any, Literal

from bots.sandbox import bubblewrap, seccomp

_STDERR_KEPT = 4096  # bytes: the end of what a program says on standard error, for the reason
_START_SECONDS = 20.0
_GRACE_SECONDS = 5.0  # for the zygote to end a program when told to

Ending = Literal["exit", "signal", "cpu_time", "wall_time", "output"]


class SandboxFaultError(RuntimeError):
    """The sandbox itself broke; nothing is known about the program."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    cpu_seconds: processor time of all its threads, whole seconds.
    wall_seconds: time on the clock.
    memory_bytes: address space.
    output_bytes: standard output.
    scratch_bytes: files in its scratch folder, all together and each.
    """

    cpu_seconds: int = 5
    wall_seconds: float = 10.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 1 << 22
    scratch_bytes: int = 1 << 24

    def __post_init__(self) -> None:
        for name, least in (("cpu_seconds", 1), ("memory_bytes", 1 << 26), ("output_bytes", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"sandbox limit {name}={getattr(self, name)}: at least {least} is needed")
        if not self.wall_seconds > 0:
            raise ValueError(f"sandbox limit wall_seconds={self.wall_seconds}: must be positive")
        if self.scratch_bytes < 4096:
            raise ValueError(f"sandbox limit scratch_bytes={self.scratch_bytes}: at least 4096 are needed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    ending: "exit" of itself (see `code`), by a "signal" (see `code`), or stopped at a limit.
    stdout: what it printed, at most `Limits.output_bytes`.
    stderr: the end of its standard error, decoded.
    """

    ending: Ending
    code: int
    stdout: bytes
    stderr: str
    cpu_seconds: float
    peak_bytes: int

    @property
    def succeeded(self) -> bool:
        """It ended of itself with exit status 0."""
        return self.ending == "exit" and self.code == 0

    def explain(self) -> str:
        """Why it did not succeed, in a few words."""
        match self.ending:
            case "cpu_time" | "wall_time":
                return f"time limit exceeded ({self.ending.replace('_', ' ')})"
            case "output":
                return "output limit exceeded"
            case "signal":
                return f"ended by signal {self.code}"
        lines = self.stderr.strip().splitlines()
        return f"exit status {self.code}" + (f": {lines[-1][:200]}" if lines else "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What function-call tests said: `passed` or not, with the reason. `broken`: the tests are at fault."""

    passed: bool
    reason: str
    broken: bool = False


class _Running:
    """One started program, from the host's side."""

    def __init__(self) -> None:
        self.stopped: Ending | None = None
        self.report: dict[str, Any] | None = None


class Sandbox:
    """A warm sandbox. Programs run one at a time; make one sandbox for each process that needs one.

    Raises SandboxUnavailableError if programs can't be confined here. `unsafe_without_isolation` starts the
    programs without bubblewrap and namespaces, with the rights of this user: limits and, where possible, the
    system call filter remain. Never do that with programs that you would not run yourself.
    """

    def __init__(self, limits: Limits | None = None, *, unsafe_without_isolation: bool = False) -> None:
        self.limits = limits or Limits()
        self._unsafe = unsafe_without_isolation
        self._ids = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: str | None = None
        self._start()

    # --- running programs -------------------------------------------------------------------------------

    def run(self, source: str, stdin: str = "") -> Outcome:
        """Run `source` as a script with `stdin`; raises SandboxFaultError if the sandbox itself fails."""
        with contextlib.ExitStack() as files:
            out_read, out_write = _pipe(files)
            err_read, err_write = _pipe(files)
            fds = [_file(files, "source", source), _file(files, "stdin", stdin)]
            fds += [out_write.fileno(), err_write.fileno()]
            number, running = self._launch("stdio", fds)
            out_write.close()
            err_write.close()
            stdout, stderr = bytearray(), bytearray()
            deadline = time.monotonic() + self.limits.wall_seconds
            self._attend({number: running}, {out_read.fileno(): stdout, err_read.fileno(): stderr}, deadline)
        return self._outcome(running, stdout, stderr)

    def test_calls(self, source: str, tests: str) -> Verdict:
        """Run `tests` (assert statements that call the solution) against `source`, in two separate programs.

        The one with the solution never sees the tests: calls and their results travel as data.
        """
        with contextlib.ExitStack() as files:
            ours, theirs = socket.socketpair()
            files.callback(ours.close)
            files.callback(theirs.close)
            verdict_read, verdict_write = _pipe(files)
            err_read, err_write = _pipe(files)
            judge_err_read, judge_err_write = _pipe(files)
            solution = [_file(files, "source", source), theirs.fileno(), err_write.fileno()]
            judging = [_file(files, "tests", tests), ours.fileno()]
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
                # What the solution sent is too much to compare: its fault, not the judge's.
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
            socket.send_fds(self._control, [request], fds)
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
        """Collect output and endings until every program has ended, stopping them at the deadline.

        When the `leader` ends, the others are stopped: nobody is left to talk to.
        """
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
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
            if self._control.fileno() in ready:
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
                    self._control.send(json.dumps({"kill": number}).encode())
                except OSError as error:
                    self.restart()
                    raise SandboxFaultError(f"the sandbox has ended: {error}") from error
        return time.monotonic()

    def _hear(self, programs: dict[int, _Running]) -> int:
        try:
            message = self._control.recv(4096)
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

    # --- life -------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """End everything inside and start afresh."""
        self.close()
        self._start()

    def close(self) -> None:
        """End the sandbox with whatever runs in it. It can't be used afterwards."""
        if self._process is not None:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as files:
            files.callback(theirs.close)
            complaints = files.enter_context(tempfile.TemporaryFile())
            if self._unsafe:
                self._start_unsafe(theirs, complaints)
            elif os.geteuid() == 0:
                self._start_as_root(theirs, complaints, files)
            else:
                self._spawn(bubblewrap.command(bubblewrap.find()), theirs, complaints, uid=-1)
            self._control.settimeout(_START_SECONDS)
            try:
                hello = self._control.recv(4096)
            except OSError:
                hello = b""
            if not hello:
                self.close()
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip()[-600:]
                raise bubblewrap.SandboxUnavailableError(
                    f"bubblewrap is installed, but a sandbox can't be started on this machine: {said or 'no reply'}. "
                    "It needs user namespaces: check the sysctls user.max_user_namespaces, "
                    "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns; "
                    "a container must be allowed to create them (see docs/sandbox.md)."
                )
            self._control.setblocking(True)

    def _spawn(
        self,
        wrapper: list[str],
        theirs: socket.socket,
        complaints: Any,
        *,
        uid: int,
        scratch: str = bubblewrap.SCRATCH,
        namespaces: bool = True,
        pass_fds: tuple[int, ...] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        walls = {
            "scratch": scratch,
            "scratch_bytes": self.limits.scratch_bytes,
            "namespaces": namespaces,
            "uid": uid,
            "max_tasks": 64 if namespaces and _tasks_are_counted_per_namespace() else 0,
            "filter": seccomp.build().hex(),
        }
        self._process = subprocess.Popen(
            [*wrapper, *bubblewrap.interpreter(), str(theirs.fileno()), json.dumps(walls)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            pass_fds=(theirs.fileno(), *pass_fds),
            env=env or {},
            cwd="/",
        )

    def _start_as_root(self, theirs: socket.socket, complaints: Any, files: contextlib.ExitStack) -> None:
        """As root, map a second user into the sandbox, so that programs are `nobody` and not a powerless root."""
        info_read, info_write = _pipe(files)
        block_read, block_write = _pipe(files)
        wrapper = bubblewrap.command(
            bubblewrap.find(), info_fd=info_write.fileno(), block_fd=block_read.fileno()
        )
        pass_fds = (info_write.fileno(), block_read.fileno())
        self._spawn(wrapper, theirs, complaints, uid=bubblewrap.PROGRAM_UID, pass_fds=pass_fds)
        info_write.close()
        said = info_read.read()
        if said:
            child = json.loads(said)["child-pid"]
            users = f"0 0 1\n{bubblewrap.PROGRAM_UID} {bubblewrap.OUTSIDE_UID} 1\n"
            with contextlib.suppress(
                OSError
            ):  # then bwrap has ended or will complain, which is what is reported
                for name in ("uid_map", "gid_map"):
                    with open(f"/proc/{child}/{name}", "w") as file:
                        file.write(users)
        block_write.write(b"1")

    def _start_unsafe(self, theirs: socket.socket, complaints: Any) -> None:
        self._scratch = tempfile.mkdtemp(prefix="bots-unsafe-")
        env = bubblewrap.environment(str(bubblewrap.INNER.parent))
        self._spawn([], theirs, complaints, uid=-1, scratch=self._scratch, namespaces=False, env=env)


def _tasks_are_counted_per_namespace() -> bool:
    """Since Linux 5.14 RLIMIT_NPROC counts within a user namespace; before, it counted all of a user's tasks."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor.split("-")[0])) >= (5, 14)


def _pipe(files: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    read, write = os.pipe2(os.O_CLOEXEC)
    return (
        files.enter_context(FileIO(read, "rb", closefd=True)),
        files.enter_context(FileIO(write, "wb", closefd=True)),
    )


def _file(files: contextlib.ExitStack, name: str, text: str) -> int:
    """An anonymous file of `text`, sealed: whoever gets it can't change it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    file = files.enter_context(open(fd, "wb", buffering=0))
    view = memoryview(text.encode(errors="replace"))
    while view:
        view = view[file.write(view) :]
    file.seek(0)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _collect(fd: int, kept: bytearray, limit: int | None) -> bool:
    """Read what is there into `kept`: up to just over `limit`, or only the end of it. False at the end of file."""
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
