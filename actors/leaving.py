"""The end of a process that has imported large packages."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn

UNWRITTEN = 120
"""Python's own exit status if what was printed could not be written."""


def leave(status: int) -> NoReturn:
    """End this process as `sys.exit` does, but leave its memory to the system instead of freeing object by object.

    With Ray, torch and vLLM imported that takes seconds, also in each worker of a fork server, which would first get
    copies of the pages that it only frees. Threads are waited for, exit functions run and the streams are flushed.
    """
    # As Python ends, and `multiprocessing` its forks.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # such as a pipe that nobody reads
            status = status or UNWRITTEN
    os._exit(status)
