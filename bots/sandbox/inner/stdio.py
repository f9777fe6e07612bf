"""Runs a program as a script: it reads standard input, writes standard output, and has its own exit status."""

from __future__ import annotations

import atexit
import builtins
import functools
import io
import os
import sys
import threading
import traceback
import types
from typing import Any

SOURCE = 3
_STREAMS: dict[Any, int] = {
    name: number
    for number, stream in enumerate(("stdin", "stdout", "stderr"))
    for name in (f"/dev/{stream}", f"/dev/fd/{number}", f"/proc/self/fd/{number}")
}


def read_all(fd: int) -> bytes:
    with open(fd, "rb") as file:
        return file.read()


def new_main() -> types.ModuleType:
    """A fresh `__main__`, so that nothing of the zygote is in the program's namespace."""
    module = types.ModuleType("__main__")
    module.__dict__["__file__"] = "solution.py"
    sys.modules["__main__"] = module
    sys.argv[:] = ["solution.py"]
    return module


def main() -> int:
    status = 0
    source = read_all(SOURCE)
    _name_the_streams()
    try:
        exec(compile(source, "solution.py", "exec"), new_main().__dict__)
    except SystemExit as stop:
        status = exit_status(stop)
    except BaseException:  # noqa: BLE001 the program's own error goes where an interpreter would print it
        traceback.print_exc()
        status = 1
    return finish(status)


def _name_the_streams() -> None:
    """Make `open("/dev/stdin")` and the like open the streams: those names need a /proc, which is missing here."""
    plain = io.open

    @functools.wraps(plain)
    def opening(file: Any, *args: Any, **kwargs: Any) -> Any:
        number = _STREAMS.get(os.fspath(file)) if isinstance(file, str | bytes | os.PathLike) else None
        return plain(file if number is None else os.dup(number), *args, **kwargs)

    builtins.open = io.open = opening


def exit_status(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code & 0xFF
    print(stop.code, file=sys.stderr)
    return 1


def finish(status: int) -> int:
    """Do what an interpreter does on exit: join threads, run exit handlers, flush."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    # Flush the program's replacement stream, if there is one, and the original one; a closed one is skipped.
    for stream in (sys.stdout, sys.__stdout__):
        if stream is None or getattr(stream, "closed", False):
            continue
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            status = status or 120
    return status
