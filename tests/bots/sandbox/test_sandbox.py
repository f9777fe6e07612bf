"""What honest programs may do, and how the sandbox answers for itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bots.sandbox import Limits, Sandbox, SandboxFaultError, SandboxUnavailableError, seccomp
from bots.sandbox.zygote import maps_nobody

HONEST = {
    "reads lines": ("n = int(input())\nprint(sum(int(input()) for _ in range(n)))", "2\n3\n4\n", "7\n"),
    "reads all at once": ("import sys\nprint(len(sys.stdin.read().split()))", "a b\nc", "3\n"),
    "reads bytes": ("import sys\nprint(sys.stdin.buffer.readline())", "é\n", "b'\\xc3\\xa9\\n'\n"),
    "reads by file descriptor": ("import os\nprint(os.read(0, 99))", "abc", "b'abc'\n"),
    "opens standard input again": ("print(open(0).read())", "xyz", "xyz\n"),
    "writes without a flush": ("import sys\nsys.stdout.write('no newline')", "", "no newline"),
    "is the main module": ("if __name__ == '__main__': print('main')", "", "main\n"),
    "exits with status 0": ("print(1)\nimport sys\nsys.exit()", "", "1\n"),
    "calls exit": ("print(1)\nexit()\nprint(2)", "", "1\n"),
    "calls quit": ("print(1)\nquit(0)", "", "1\n"),
    "recursion in a big thread": (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 27)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        "t = threading.Thread(target=lambda: print(f(50000)))\nt.start()\nt.join()",
        "",
        "50000\n",
    ),
    "asyncio": ("import asyncio\nasync def f(): return 5\nprint(asyncio.run(f()))", "", "5\n"),
    "standard library": (
        "import collections, heapq, bisect, itertools, functools, math, re, decimal, fractions, random, json, "
        "datetime, zoneinfo, dataclasses, enum, array, struct, statistics, operator, copy, string, queue, "
        "hashlib, base64, zlib, csv, io, uuid, unittest, doctest, typing, pprint, textwrap, cmath\nprint('ok')",
        "",
        "ok\n",
    ),
    "dataclass and pickle": (
        "import pickle, dataclasses\n@dataclasses.dataclass\nclass A: x: int\n"
        "print(pickle.loads(pickle.dumps(A(3))))",
        "",
        "A(x=3)\n",
    ),
    "scratch file": (
        "import tempfile\nwith tempfile.NamedTemporaryFile('w+') as f:\n"
        "    f.write('a')\n    f.seek(0)\n    print(f.read())",
        "",
        "a\n",
    ),
    "the same order of a set every time": ("print(list({'a', 'b', 'c', 'd'}))", "", None),
    "big numbers": ("print(len(str(2 ** 10000)))", "", "3011\n"),
    "raises its stack limit": (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 28, -1))\nprint('ok')",
        "",
        "ok\n",
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_program(name: str, sandbox: Sandbox) -> None:
    source, given, expected = HONEST[name]
    outcome = sandbox.run(source, given)
    assert outcome.succeeded, outcome
    if expected is None:
        assert sandbox.run(source, given).stdout == outcome.stdout
    else:
        assert outcome.stdout.decode() == expected


def test_endings_are_told_apart(sandbox: Sandbox) -> None:
    assert sandbox.run("raise SystemExit(3)").explain() == "exit status 3"
    assert "ZeroDivisionError" in sandbox.run("1 / 0").explain()
    assert "SyntaxError" in sandbox.run("def").explain()
    assert "MemoryError" in sandbox.run("x = bytearray(1 << 40)").explain()
    assert sandbox.run("import time\ntime.sleep(60)").ending == "wall_time"
    assert sandbox.run("while True: print('x' * 9999)").ending == "output"
    crashed = sandbox.run("import ctypes\nctypes.string_at(0)")
    assert (crashed.ending, crashed.code) == ("signal", signal.SIGSEGV)


def test_processor_time_is_limited_even_if_the_clock_has_time() -> None:
    with _sandbox(Limits(cpu_seconds=1, wall_seconds=60.0)) as box:
        outcome = box.run("while True: pass")
    assert outcome.ending == "cpu_time"
    assert 0.5 < outcome.cpu_seconds < 3


def test_memory_of_a_program_is_reported(sandbox: Sandbox) -> None:
    small = sandbox.run("pass").peak_bytes
    big = sandbox.run("x = bytearray(b'x') * (100 << 20)").peak_bytes
    assert 90 << 20 < big - small < 130 << 20


def test_text_that_is_not_unicode_is_no_fault(sandbox: Sandbox) -> None:
    assert sandbox.run("print(len(input()))", "\ud800").succeeded
    assert not sandbox.run("print('\ud800')").stdout.startswith(b"\xed")
    assert sandbox.run("import sys\nsys.stdout.buffer.write(b'\\xff')").stdout == b"\xff"


def test_after_its_processes_are_killed_the_sandbox_says_so_and_works_again() -> None:
    with _sandbox() as box:
        process = box._zygote._process
        assert process is not None
        process.kill()
        process.wait()
        with pytest.raises(SandboxFaultError):
            box.run("print(1)")
        assert box.run("print(1)").stdout == b"1\n"


def test_nothing_is_left_when_it_is_closed() -> None:
    box = _sandbox()
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-ww", "-o", "args="], capture_output=True, text=True, check=True
    )
    assert "inner.zygote" in children.stdout
    process = box._zygote._process
    assert process is not None
    box.close()
    assert process.poll() is not None


def test_without_bubblewrap_it_refuses_and_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxUnavailableError, match="apt-get install bubblewrap"):
        Sandbox()


def test_where_no_namespace_can_be_made_it_refuses_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: Creating new namespace failed' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(
        SandboxUnavailableError, match=r"Creating new namespace failed.*user\.max_user_namespaces"
    ):
        Sandbox()


def test_the_unsafe_mode_works_without_bubblewrap_and_keeps_the_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    limits = Limits(cpu_seconds=1, wall_seconds=2.0)
    with Sandbox(limits, unsafe_without_isolation=True) as box:
        assert box.run("print(input())", "x").stdout == b"x\n"
        assert not box.run("while True: pass").succeeded
        assert not box.run("import os\nos.fork()").succeeded
        assert not box.run("import os\nos.kill(-1, 9)").succeeded
        assert not box.run("import socket\nsocket.socket()").succeeded
        assert box.test_calls("def f(x): return x + 1", "assert f(1) == 2").passed
        assert not box.test_calls("def f(x): return x", "assert f(1) == 2").passed


def test_impossible_limits_are_refused() -> None:
    for bad in ({"cpu_seconds": 0}, {"wall_seconds": 0.0}, {"memory_bytes": 1000}, {"scratch_bytes": 1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Limits(**bad)  # type: ignore[arg-type]


def test_the_filter_knows_its_machines() -> None:
    for machine in ("x86_64", "aarch64"):
        program = seccomp.build(machine)
        assert len(program) % 8 == 0
        assert len(program) // 8 < 4096  # the kernel's limit
    with pytest.raises(seccomp.UnsupportedMachineError, match="riscv64"):
        seccomp.build("riscv64")


def test_inside_only_the_standard_library_is_imported() -> None:
    inner = Path(__file__).parents[3] / "bots" / "sandbox" / "inner"
    code = "import sys; sys.argv = ['x']; import inner.zygote; print(*sys.modules)"
    environment = {"PYTHONPATH": str(inner.parent)}
    done = subprocess.run(
        [sys.executable, "-S", "-s", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    top = {name.partition(".")[0] for name in done.stdout.split()}
    assert top - set(sys.stdlib_module_names) <= {"inner", "__main__", "__mp_main__"}


def _sandbox(limits: Limits | None = None) -> Sandbox:
    try:
        return Sandbox(limits)
    except SandboxUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("level", "option"), [(1, 77), (1, 26), (1, 50), (6, 1)])
def test_socket_options_that_reach_outside_are_refused(level: int, option: int, sandbox: Sandbox) -> None:
    source = f"""
import socket
one, other = socket.socketpair()
for ask in (lambda: one.getsockopt({level}, {option}), lambda: one.setsockopt({level}, {option}, b'1' * 16)):
    try:
        ask()
    except PermissionError:
        print('refused')
print(one.getsockopt(1, 3))
"""
    outcome = sandbox.run(source)
    assert outcome.stdout.decode().split() == ["refused", "refused", "1"], outcome.stderr


def test_root_of_a_one_user_map_takes_the_other_path(tmp_path: Path) -> None:
    for name in ("uid_map", "gid_map"):
        (tmp_path / name).write_text("         0       1000          1\n")
    assert not maps_nobody(str(tmp_path))
    for name in ("uid_map", "gid_map"):
        (tmp_path / name).write_text("         0          0 4294967295\n")
    assert maps_nobody(str(tmp_path))
