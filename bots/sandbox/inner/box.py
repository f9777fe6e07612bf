"""Isolates one program: new namespaces, limits, no privileges, a system call filter.

Called in the forked child before any of the program's code runs; the child cannot undo any of it.
"""

from __future__ import annotations

import ctypes
import os
import resource
from typing import TypedDict

_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWPID, _CLONE_NEWUTS = 0x00020000, 0x08000000, 0x20000000, 0x04000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 1 << 18
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 22, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, _SECCOMP_MODE_FILTER = 47, 4, 2
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 40

_libc = ctypes.CDLL(None, use_errno=True)


class Isolation(TypedDict):
    """The zygote's settings, passed once at its start."""

    scratch: str  # the only folder where a program can write
    scratch_bytes: int
    namespaces: bool  # False only in the explicitly unsafe mode
    uid: int  # the user that programs run as, seen from inside; -1: the zygote's own
    max_tasks: int  # threads of one program; 0: no such limit
    filter: str  # hexadecimal


class ProcessLimits(TypedDict):
    """Resource limits of one program."""

    cpu_seconds: int
    memory_bytes: int
    file_bytes: int


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare_pids() -> None:
    """Make the next child process 1 of a new PID namespace."""
    _check(_libc.unshare(_CLONE_NEWPID), "unshare(CLONE_NEWPID)")


def return_to_pids(namespace_fd: int) -> None:
    """Undo `unshare_pids` for the caller's later children."""
    _check(_libc.setns(namespace_fd, _CLONE_NEWPID), "setns(CLONE_NEWPID)")


def _mount(source: bytes, target: str, kind: bytes, flags: int, options: str) -> None:
    _check(_libc.mount(source, target.encode(), kind, flags, options.encode()), f"mount {target}")


def unmount(target: str) -> None:
    _check(_libc.umount2(target.encode(), 2), f"umount {target}")


def enter(isolation: Isolation, limits: ProcessLimits) -> None:
    """Isolate the calling process; this cannot be undone."""
    uid = isolation["uid"]
    if isolation["namespaces"]:
        _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWIPC | _CLONE_NEWUTS), "unshare")
        _mount(b"none", "/", b"", _MS_REC | _MS_PRIVATE, "")
        # nr_inodes: a million empty files would use kernel memory that the size limit does not count
        options = f"size={isolation['scratch_bytes']},nr_inodes=256,mode=0700"
        if uid >= 0:
            options += f",uid={uid},gid={uid}"
        _mount(b"tmpfs", isolation["scratch"], b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, options)

    for what, value in (
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(what, (value, value))
    if isolation["max_tasks"]:
        resource.setrlimit(resource.RLIMIT_NPROC, (isolation["max_tasks"], isolation["max_tasks"]))
    _drop_privileges(uid, isolation["namespaces"])
    os.chdir(isolation["scratch"])  # owned by the program: the zygote may not enter
    _filter_system_calls(bytes.fromhex(isolation["filter"]))


def _drop_privileges(uid: int, confined: bool) -> None:
    if confined:
        for capability in range(_LAST_CAPABILITY + 1):
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # EINVAL for one unknown to this kernel
        _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "clear ambient capabilities")
    if uid >= 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if confined:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")


def _filter_system_calls(program: bytes) -> None:
    class _Program(ctypes.Structure):  # struct sock_fprog
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    argument = _Program(len(program) // 8, program)
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(argument), 0, 0), "seccomp")
