"""The system calls that a tested program may make, as a seccomp filter (classic BPF). All others are refused.

It is an allow list: what Python, its standard library and threads need to compute, to read the library and to use the
scratch folder. No new process (`fork`, `execve`, or `clone` unless it creates a thread), no signals to others, no
sockets except a private pair, and no mount, namespace, key ring, shared memory, tracing, BPF or io_uring. A refused
call fails with EPERM, so that the program gets a clear exception. `clone3` fails with ENOSYS, which makes the C library
fall back on `clone`, whose flags a filter can read.
"""

from __future__ import annotations

import platform
import struct
import sys

# By name: (x86_64, aarch64); None if the architecture has no such call.
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # files: reading the library, writing to the scratch folder
    "read": (0, 63), "write": (1, 64), "open": (2, None), "close": (3, 57), "stat": (4, None),
    "fstat": (5, 80), "lstat": (6, None), "poll": (7, None), "lseek": (8, 62), "pread64": (17, 67),
    "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "access": (21, None), "pipe": (22, None),
    "select": (23, None), "dup": (32, 23), "dup2": (33, None), "sendfile": (40, 71), "fcntl": (72, 25),
    "flock": (73, 32), "fsync": (74, 82), "fdatasync": (75, 83), "truncate": (76, 45), "ftruncate": (77, 46),
    "getdents": (78, None), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "rename": (82, None),
    "mkdir": (83, None), "rmdir": (84, None), "creat": (85, None), "link": (86, None), "unlink": (87, None),
    "symlink": (88, None), "readlink": (89, None), "chmod": (90, None), "fchmod": (91, 52),
    "umask": (95, 166),
    "statfs": (137, 43), "fstatfs": (138, 44), "getdents64": (217, 61), "fadvise64": (221, 223),
    "epoll_wait": (232, None), "epoll_ctl": (233, 21), "openat": (257, 56), "mkdirat": (258, 34),
    "newfstatat": (262, 79), "unlinkat": (263, 35), "renameat": (264, 38), "linkat": (265, 37),
    "symlinkat": (266, 36), "readlinkat": (267, 78), "fchmodat": (268, 53), "faccessat": (269, 48),
    "pselect6": (270, 72), "ppoll": (271, 73), "utimensat": (280, 88), "epoll_pwait": (281, 22),
    "fallocate": (285, 47), "eventfd2": (290, 19), "epoll_create1": (291, 20), "dup3": (292, 24),
    "pipe2": (293, 59), "preadv": (295, 69), "pwritev": (296, 70), "renameat2": (316, 276),
    "statx": (332, 291),
    "copy_file_range": (326, 285), "close_range": (436, 436), "faccessat2": (439, 439),
    # a private pair of sockets (asyncio's wake-up); `socketpair` itself is filtered by its family below
    "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211), "recvmsg": (47, 212),
    "shutdown": (48, 210),
    "getsockname": (51, 204), "getpeername": (52, 205),
    # memory
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216),
    "msync": (26, 227), "mincore": (27, 232), "madvise": (28, 233),
    # threads, time, and what a process may learn about itself
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "pause": (34, None), "nanosleep": (35, 101), "getitimer": (36, 102), "alarm": (37, None),
    "setitimer": (38, 103), "getpid": (39, 172), "exit": (60, 93), "wait4": (61, 260), "uname": (63, 160),
    "gettimeofday": (96, 169), "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179),
    "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175),
    "getegid": (108, 177), "getppid": (110, 173), "getpgrp": (111, None), "getgroups": (115, 158),
    "getresuid": (118, 148), "getresgid": (120, 150), "getpgid": (121, 155), "getsid": (124, 156),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132), "getpriority": (140, 141), "setrlimit": (160, 164), "arch_prctl": (158, None),
    "gettid": (186, 178), "time": (201, None), "futex": (202, 98), "sched_getaffinity": (204, 123),
    "set_tid_address": (218, 96), "restart_syscall": (219, 128), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94), "waitid": (247, 95),
    "set_robust_list": (273, 99), "get_robust_list": (274, 100), "prlimit64": (302, 261),
    "getcpu": (309, 168),
    "getrandom": (318, 278), "membarrier": (324, 283), "rseq": (334, 293),
}  # fmt: skip
_CLONE, _CLONE3, _SOCKETPAIR, _IOCTL = (56, 220), (435, 435), (53, 199), (16, 29)
_GETSOCKOPT, _SETSOCKOPT = (55, 209), (54, 208)
# Options of SOL_SOCKET. Excluded: SO_PEERPIDFD (a process's descriptor), SO_ATTACH_FILTER and its relatives.
_SOL_SOCKET = 1
_READABLE_OPTIONS = (2, 3, 4, 7, 8, 9, 30, 38, 39)  # reuse, type, error, buffers, keep-alive, listening, kind
_SETTABLE_OPTIONS = (2, 7, 8, 9, 13, 20, 21)  # reuse, buffers, keep-alive, linger, time limits
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN = {"x86_64": 0, "aarch64": 1}

_CLONE_THREAD = 0x00010000
_AF_UNIX = 1
# TCGETS and TIOCGWINSZ (used by isatty and print), FIONCLEX, FIOCLEX, FIONBIO, FIONREAD
_IOCTLS = (0x5401, 0x5413, 0x5450, 0x5451, 0x5421, 0x541B)

_LOAD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_NR, _ARCH, _ARG0, _ARG1, _ARG2 = (
    0,
    4,
    16,
    24,
    32,
)  # offsets in struct seccomp_data (low words, little endian)
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38


class UnsupportedMachineError(RuntimeError):
    """There is no system call table for this processor, so programs can't be isolated."""


def build(machine: str | None = None) -> bytes:
    """The filter as an array of `struct sock_filter`, for this machine or the named one, to pass to the kernel."""
    machine = machine or platform.machine()
    if machine not in _COLUMN or sys.byteorder != "little":
        raise UnsupportedMachineError(
            f"the sandbox knows the system calls of {', '.join(_COLUMN)}, not of {machine!r}"
        )
    column = _COLUMN[machine]
    code: list[tuple[int, int, int, int]] = []
    add = code.append

    # Call numbers of another architecture (32-bit, x32) would slip through a table for this one.
    add((_LOAD, 0, 0, _ARCH))
    add((_JEQ, 1, 0, _AUDIT_ARCH[machine]))
    add((_RET, 0, 0, _KILL_PROCESS))
    add((_LOAD, 0, 0, _NR))
    add((_JGE, 0, 1, 0x40000000))
    add((_RET, 0, 0, _KILL_PROCESS))

    for numbers in _ALLOWED.values():
        if (number := numbers[column]) is not None:
            add((_JEQ, 0, 1, number))
            add((_RET, 0, 0, _ALLOW))

    add((_JEQ, 0, 1, _CLONE3[column]))
    add((_RET, 0, 0, _ERRNO | _ENOSYS))

    add((_JEQ, 0, 4, _CLONE[column]))
    add((_LOAD, 0, 0, _ARG0))
    add((_JSET, 0, 1, _CLONE_THREAD))
    add((_RET, 0, 0, _ALLOW))
    add((_RET, 0, 0, _ERRNO | _EPERM))

    add((_JEQ, 0, 4, _SOCKETPAIR[column]))
    add((_LOAD, 0, 0, _ARG0))
    add((_JEQ, 0, 1, _AF_UNIX))
    add((_RET, 0, 0, _ALLOW))
    add((_RET, 0, 0, _ERRNO | _EPERM))

    for call, options in ((_GETSOCKOPT, _READABLE_OPTIONS), (_SETSOCKOPT, _SETTABLE_OPTIONS)):
        add((_JEQ, 0, 4 + 2 * len(options), call[column]))
        add((_LOAD, 0, 0, _ARG1))
        add((_JEQ, 0, 1 + 2 * len(options), _SOL_SOCKET))
        add((_LOAD, 0, 0, _ARG2))
        for option in options:
            add((_JEQ, 0, 1, option))
            add((_RET, 0, 0, _ALLOW))
        add((_RET, 0, 0, _ERRNO | _EPERM))

    add((_JEQ, 0, 1 + 2 * len(_IOCTLS), _IOCTL[column]))
    add((_LOAD, 0, 0, _ARG1))
    for request in _IOCTLS:
        add((_JEQ, 0, 1, request))
        add((_RET, 0, 0, _ALLOW))

    add((_RET, 0, 0, _ERRNO | _EPERM))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
