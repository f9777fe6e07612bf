"""A program as a script:

it reads standard input and writes standard output, and its exit status is its own.
"""

from __future__ import annotations

import atexit
import sys
import threading
import traceback
import types

SOURCE = 3


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
    try:
        exec(compile(source, "solution.py", "exec"), new_main().__dict__)
    except SystemExit as stop:
        status = exit_status(stop)
    except BaseException:  # noqa: BLE001 the program's own error goes where an interpreter would print it
        traceback.print_exc()
        status = 1
    return finish(status)


def exit_status(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code & 0xFF
    print(stop.code, file=sys.stderr)
    return 1


def finish(status: int) -> int:
    """What an interpreter does at its end: join threads, run exit handlers, flush."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        status = status or 120
    return status
