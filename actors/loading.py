"""Large packages loaded in less time: most of what a job does before its first step is to import them."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def loading(without: Sequence[str] = ()) -> Iterator[None]:
    """To import in: without collecting garbage, of which an import makes next to none, and without some packages.

    What was loaded stays for as long as the process does, so later collections leave it out (`gc.freeze`); vLLM asks
    for five while it starts. The lab's engine is up after two thirds of the CPU time that it took, and a learner's code
    is there after half (`benchmarks/startup.py`). without: packages that something on the way would import where they
    are installed, but can do without; those that are loaded already stay as they are.
    """
    collects = gc.isenabled()
    loaded = len(sys.modules)
    absent = [name for name in without if name not in sys.modules]
    gc.disable()
    # What Python takes for "there is no such package".
    sys.modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
        # Not where all had been loaded before: what the process has made since then may go.
        if len(sys.modules) > loaded:
            gc.freeze()
            # What is still frozen when Python ends is not freed, which packages written in C++ then report as leaks.
            atexit.register(gc.unfreeze)
        if collects:
            gc.enable()
