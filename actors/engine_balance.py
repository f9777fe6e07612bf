"""What keeps engines equally busy: their measured speeds, and the return of requests that one has not started."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from actors.pooled_engine import PooledEngine
from bots.rollouts.speeds import relative_speeds


def compare(engines: Sequence[PooledEngine]) -> None:
    """Set each engine's speed from what all have reported so far."""
    for engine, speed in zip(engines, relative_speeds([engine.pace for engine in engines]), strict=True):
        engine.speed = speed


def even_out(ready: Sequence[PooledEngine]) -> None:
    """With an empty queue, ask for requests that engines have not started, for idle engines."""
    dry = [engine for engine in ready if not engine.open]
    rich = [engine for engine in ready if engine.unbegun]
    if not dry or not rich or any(engine.wanted_back for engine in rich):
        return
    part = sum(engine.speed for engine in dry) / sum(engine.speed for engine in (*dry, *rich))
    wanted = ceil(sum(engine.unbegun for engine in rich) * part)
    for engine in sorted(rich, key=lambda engine: -engine.unbegun):
        engine.wanted_back = min(wanted, engine.unbegun)
        wanted -= engine.wanted_back
        if engine.wanted_back:
            engine.overfull.set()
