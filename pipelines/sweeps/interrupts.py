"""Ctrl-C in a sweep: Ray Tune saves its state and ends, and the sweep knows that it did not end by itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noting_interrupts() -> Iterator[threading.Event]:
    """Around Ray Tune's loop: the first interrupt sets the event and ends the loop in good order, the next is as ever.

    Ray Tune's own handler of Ctrl-C has to be off (TUNE_DISABLE_SIGINT_HANDLER): nobody would hear of it. The one that
    it has for SIGUSR1 does the same and is always there. Before that one is, an interrupt ends everything at once.
    Off the main thread, where no handler can be set, an interrupt is as ever.
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

    # Left over by an earlier sweep in this process it would end that one's loop.
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    for ending in ENDING:
        signal.signal(ending, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that is not Python's cannot be put back
                signal.signal(number, handler)
