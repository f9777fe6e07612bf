"""The life cycle of one sandbox: start bubblewrap with the zygote in it, talk to it, end it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
from io import FileIO
from typing import Any

from bots.sandbox import bubblewrap, seccomp

_START_SECONDS = 20.0


class Zygote:
    """A running, still empty sandbox. control: the socket to its zygote.

    Raises SandboxUnavailableError if programs can't be isolated on this machine.
    """

    def __init__(self, scratch_bytes: int, *, unsafe_without_isolation: bool) -> None:
        self._scratch_bytes = scratch_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: str | None = None
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as files:
            files.callback(theirs.close)
            on_failure = files.enter_context(contextlib.ExitStack())
            on_failure.callback(self.close)
            complaints = files.enter_context(tempfile.TemporaryFile())
            if unsafe_without_isolation:
                self._start_unsafe(theirs, complaints)
            elif os.geteuid() == 0 and maps_nobody():
                self._start_as_root(theirs, complaints)
            else:
                self._spawn(bubblewrap.command(bubblewrap.find()), theirs, complaints, uid=-1)
            theirs.close()
            self.control.settimeout(_START_SECONDS)
            try:
                hello = self.control.recv(4096)
            except OSError:
                hello = b""
            if not hello:
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip()[-600:]
                raise bubblewrap.SandboxUnavailableError(
                    f"bubblewrap is here, but a sandbox can't be started: {said or 'no reply'}. "
                    "It needs user namespaces: check the sysctls user.max_user_namespaces, "
                    "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns; "
                    "a container must be allowed to create them (see docs/sandbox.md)."
                )
            self.control.setblocking(True)
            on_failure.pop_all()

    def close(self) -> None:
        """End it and whatever runs in it."""
        self.control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

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
        isolation = {
            "scratch": scratch,
            "scratch_bytes": self._scratch_bytes,
            "namespaces": namespaces,
            "uid": uid,
            "max_tasks": 64 if namespaces and _tasks_are_counted_per_namespace() else 0,
            "filter": seccomp.build().hex(),
        }
        self._process = subprocess.Popen(
            [*wrapper, *bubblewrap.interpreter(), str(theirs.fileno()), json.dumps(isolation)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            pass_fds=(theirs.fileno(), *pass_fds),
            env=env or {},
            cwd="/",
        )

    def _start_as_root(self, theirs: socket.socket, complaints: Any) -> None:
        """As root, map a second user into it, so that programs run as `nobody` and not as a powerless root."""
        with contextlib.ExitStack() as files:
            info_read, info_write = pipe(files)
            block_read, block_write = pipe(files)
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
                # If this fails, bwrap has ended or will complain, and its own message is reported.
                with contextlib.suppress(OSError):
                    for name in ("uid_map", "gid_map"):
                        with open(f"/proc/{child}/{name}", "w") as file:
                            file.write(users)
            block_write.write(b"1")

    def _start_unsafe(self, theirs: socket.socket, complaints: Any) -> None:
        self._scratch = tempfile.mkdtemp(prefix="bots-unsafe-")
        env = bubblewrap.environment(str(bubblewrap.INNER.parent))
        self._spawn([], theirs, complaints, uid=-1, scratch=self._scratch, namespaces=False, env=env)


def maps_nobody(folder: str = "/proc/self") -> bool:
    """Whether this process's user namespace has the user id that programs get outside.

    A rootless container often maps only root. Root there can't become another user, and is an ordinary user outside.
    """
    return all(_is_mapped(f"{folder}/{name}") for name in ("uid_map", "gid_map"))


def _is_mapped(path: str) -> bool:
    with open(path) as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    return any(first <= bubblewrap.OUTSIDE_UID < first + count for first, _, count in ranges)


def _tasks_are_counted_per_namespace() -> bool:
    """Whether RLIMIT_NPROC counts per user namespace, as it does since Linux 5.14; before, it counted per user."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor.split("-")[0])) >= (5, 14)


def pipe(files: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    """The reading and writing ends of a pipe, closed with `files` at the latest."""
    read, write = os.pipe2(os.O_CLOEXEC)
    return (
        files.enter_context(FileIO(read, "rb", closefd=True)),
        files.enter_context(FileIO(write, "wb", closefd=True)),
    )
