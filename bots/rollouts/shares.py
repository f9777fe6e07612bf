"""Which engine gets which request: fair shares of every wave, and nothing waits while an engine is idle.

The rule, wave by wave (a wave is one selection, or one evaluation):

- Engines get shares of a wave's completions in proportion to their speeds, to within one request. Engines that are
  full or still loading weights count: their share is kept for them.
- An engine with more work left from earlier waves than the others gets one request less; with less work, one more.
- An idle engine also takes its part of what is kept for others.
- A request goes to an engine that can start it at once, rather than to one where it would wait.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol, TypeVar

from bots.rollouts.request import Request

WaveKey = tuple[str, int]
"""Purpose of the requests, and the number of the selection."""


class SharingEngine(Protocol):
    """What the rule needs to know about an engine.

    number: unique id. load: completions it has yet to generate. speed: relative to the others; 1 if it is like them.
    """

    @property
    def number(self) -> int: ...

    @property
    def load(self) -> int: ...

    @property
    def speed(self) -> float: ...


E = TypeVar("E", bound=SharingEngine)


@dataclass
class _Wave:
    """A wave that is not complete.

    given: completions by engine, including finished ones. to_do: unfinished completions by engine.
    incomplete: requests that wait or are at an engine. completions: those of the waiting requests.
    """

    waiting: deque[Request] = field(default_factory=deque)
    given: Counter[int] = field(default_factory=Counter)
    to_do: Counter[int] = field(default_factory=Counter)
    incomplete: int = 0
    completions: int = 0

    def put(self, requests: Sequence[Request], first: bool) -> None:
        """Queue requests. first: ahead of those that wait."""
        self.incomplete += len(requests)
        self.completions += sum(request.sampling.samples for request in requests)
        if first:
            self.waiting.extendleft(reversed(requests))
        else:
            self.waiting.extend(requests)

    def take(self) -> Request:
        """The next waiting request."""
        request = self.waiting.popleft()
        self.completions -= request.sampling.samples
        return request


class Shares:
    """Waiting requests, in order, and how many completions of its wave each engine got.

    slots: completions that one engine generates at the same time. limit: completions that one engine may have; those
    beyond the slots wait in the engine. A request larger than the limit goes to an engine that has nothing else.
    """

    def __init__(self, slots: int, limit: int) -> None:
        self.slots, self.limit = slots, limit
        self._waves: dict[WaveKey, _Wave] = {}
        # Completions each engine has yet to generate, over all waves. Its load is lower while a group is partly done.
        self._to_do: Counter[int] = Counter()

    def __len__(self) -> int:
        """Number of waiting requests."""
        return sum(len(wave.waiting) for wave in self._waves.values())

    def put(self, requests: Iterable[Request], first: bool = False) -> None:
        """Queue requests. first: ahead of all that wait, in their own order."""
        found: dict[WaveKey, list[Request]] = {}
        for request in requests:
            found.setdefault(request.key[:2], []).append(request)
        for key, of_wave in found.items():
            self._waves.setdefault(key, _Wave()).put(of_wave, first)
        if first:
            self._waves = {key: self._waves[key] for key in found} | self._waves

    def clear(self) -> None:
        """Discard every request and all counts."""
        self._waves.clear()
        self._to_do.clear()

    def complete(self, engine: SharingEngine, request: Request) -> None:
        """The engine has completed the request, or refused it."""
        self._leave(engine, request)

    def take_back(self, engine: SharingEngine, request: Request) -> None:
        """The engine will not complete the request: it counts as never given. Call `put` to queue it again."""
        self._waves[request.key[:2]].given[engine.number] -= request.sampling.samples
        self._leave(engine, request)

    def _leave(self, engine: SharingEngine, request: Request) -> None:
        key = request.key[:2]
        wave = self._waves[key]
        wave.to_do[engine.number] -= request.sampling.samples
        self._to_do[engine.number] -= request.sampling.samples
        wave.incomplete -= 1
        if not wave.incomplete:
            del self._waves[key]

    def note(self, engine: SharingEngine, request: Request) -> None:
        """The engine got a request that was not queued here."""
        wave = self._waves.setdefault(request.key[:2], _Wave())
        wave.incomplete += 1
        self._count(wave, engine, request)

    def share_out(self, ready: Sequence[E], loading: Sequence[E]) -> list[tuple[E, Request]]:
        """Take from the queue what the ready engines should get now; returns (engine, request) pairs.

        loading: engines that will be ready soon. The engines' loads are read once; requests given out here are added.
        """
        loads = {engine.number: engine.load for engine in ready}
        handed: list[tuple[E, Request]] = []
        for wave in self._waves.values():
            free = [engine for engine in ready if loads[engine.number] < self.limit]
            if not free:
                break
            if wave.waiting:
                full = [engine for engine in ready if loads[engine.number] >= self.limit]
                handed += self._share_wave(wave, free, full, loading, loads)
        return handed

    def _share_wave(
        self,
        wave: _Wave,
        free: Sequence[E],
        full: Sequence[E],
        loading: Sequence[E],
        loads: dict[int, int],
    ) -> list[tuple[E, Request]]:
        later = [*full, *loading]
        samples = wave.completions / len(wave.waiting)
        if not all(loads[engine.number] for engine in free):
            # If an engine is idle, no engine gets a request that it could not start at once.
            free = [e for e in free if not loads[e.number] or loads[e.number] + samples <= self.slots]
        level = _level(
            [(wave.given[engine.number], engine.speed) for engine in (*free, *later)], wave.completions
        )
        # In whole requests: a fraction of one can't be used.
        kept = sum(
            max(0, int((level * engine.speed - wave.given[engine.number]) / samples)) * samples
            for engine in later
        )
        handed = self._hand_out(wave, free, loads, wave.completions - kept, level)
        # Loading weights takes a moment; a full engine may take long to get to the requests kept for it.
        most = 0 if loading else self.slots // 8
        idle = [engine for engine in free if loads[engine.number] <= most]
        if idle and wave.waiting:
            speed = sum(engine.speed for engine in idle)
            rest = wave.completions * speed / (speed + sum(engine.speed for engine in later))
            handed += self._hand_out(wave, idle, loads, rest)
        return handed

    def _hand_out(
        self, wave: _Wave, engines: Sequence[E], loads: dict[int, int], count: float, most: float = inf
    ) -> list[tuple[E, Request]]:
        """Give out requests of `count` completions; none to an engine that already has `most` of the wave.

        most: at speed 1.
        """
        if count <= 0 or not wave.waiting:
            return []
        samples = wave.completions / len(wave.waiting)
        earlier = [self._to_do[engine.number] - wave.to_do[engine.number] for engine in engines]
        mean = sum(earlier) / sum(engine.speed for engine in engines)
        leans = [
            (load >= mean * engine.speed + samples) - (load <= mean * engine.speed - samples)
            for load, engine in zip(earlier, engines, strict=True)
        ]

        def rank(place: int) -> tuple[bool, float, int, int, int]:
            engine = engines[place]
            load = loads[engine.number]
            waits = load > 0 and load + samples > self.slots
            # By when it would have generated one request more.
            due = (wave.given[engine.number] + (1 + leans[place]) * samples) / engine.speed
            return waits, due, -leans[place], load, place

        handed: list[tuple[E, Request]] = []
        order = [rank(place) for place in range(len(engines))]
        heapq.heapify(order)
        while order and count > 0 and wave.waiting:
            place = order[0][-1]
            engine, request = engines[place], wave.waiting[0]
            load = loads[engine.number] + request.sampling.samples
            if wave.given[engine.number] >= most * engine.speed or (
                loads[engine.number] and load > self.limit
            ):
                heapq.heappop(order)
                continue
            count -= wave.take().sampling.samples
            loads[engine.number] = load
            self._count(wave, engine, request)
            handed.append((engine, request))
            heapq.heapreplace(order, rank(place))
        return handed

    def _count(self, wave: _Wave, engine: SharingEngine, request: Request) -> None:
        wave.given[engine.number] += request.sampling.samples
        wave.to_do[engine.number] += request.sampling.samples
        self._to_do[engine.number] += request.sampling.samples


def _level(engines: Sequence[tuple[int, float]], more: int) -> float:
    """How many completions each engine has, divided by its speed, after `more` of them went to those with the fewest.

    engines: how many each has now, and its speed.
    """
    ordered = sorted(engines, key=lambda engine: engine[0] / engine[1])
    total, speeds = float(more), 0.0
    for count, (given, speed) in enumerate(ordered, start=1):
        total += given
        speeds += speed
        if count == len(ordered) or total / speeds <= ordered[count][0] / ordered[count][1]:
            return total / speeds
    raise ValueError("no engine to share among")
