"""Faster imports of large packages: most of a job's start-up time is imports."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

FOR_SOUND = ("scipy.signal",)
"""vLLM imports these for spoken inputs, if they are there. They bring 200 modules."""


@contextmanager
def loading(without: Sequence[str] = ()) -> Iterator[None]:
    """Import inside this context: garbage collection is off, since imports leave almost no garbage.

    Imported modules live as long as the process, so later collections skip them (`gc.freeze`); vLLM runs five while it
    starts. The lab's engine then starts in two thirds of the CPU time, and a learner's imports take half
    (`benchmarks/startup.py`). without: optional packages not to import along the way; packages that are already loaded
    stay.
    """
    collects = gc.isenabled()
    loaded = len(sys.modules)
    absent = [name for name in without if name not in sys.modules]
    gc.disable()
    # None in `sys.modules` makes an import raise ModuleNotFoundError. The type stubs lack this.
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
        # Not if everything was loaded before: objects created since may be garbage.
        if len(sys.modules) > loaded:
            gc.freeze()
            # Objects still frozen at exit are never freed, and C++ packages report them as leaks.
            atexit.register(gc.unfreeze)
        if collects:
            gc.enable()
