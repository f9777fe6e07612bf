"""Ctrl-C in a sweep: Ray Tune saves its state and ends, and the sweep knows that it was interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noting_interrupts() -> Iterator[threading.Event]:
    """Around Ray Tune's loop: the first interrupt sets the event and ends the loop cleanly; a second one acts as usual.

    Ray Tune's own SIGINT handler must be off (TUNE_DISABLE_SIGINT_HANDLER), because it does not report the interrupt.
    Its SIGUSR1 handler does the same and is always installed; until it is, an interrupt ends everything at once. In
    other threads, which cannot set handlers, interrupts act as usual.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.getsignal(number) for number in (*ENDING, signal.SIGUSR1)}

    def note(number: int, frame: FrameType | None) -> None:
        end = signal.getsignal(signal.SIGUSR1)
        if not callable(end):
            raise KeyboardInterrupt
        noted.set()
        end(signal.SIGUSR1, frame)
        for ending in ENDING:
            signal.signal(ending, before[ending] or signal.SIG_DFL)

    # A handler from an earlier sweep in this process would end that sweep's loop.
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    for ending in ENDING:
        signal.signal(ending, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: a handler that is not Python's cannot be restored
                signal.signal(number, handler)
