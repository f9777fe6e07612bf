"""The ledger: where every selected task is between selection and training, and when a batch is due.

No task is selected twice while in flight, none is trained or observed twice, and none disappears without a reason.
Every entry is at exactly one of these places:

    waiting → generating → grading → ready → trained (at a step)
       ↑__________|___________|        or dropped (with a reason)

A group that is sampled in rounds (`bots.allocation`) goes back from grading to waiting for each additional round.

A task that is selected again later is a new entry: the key is (wave, row), and the wave numbers the selection. Bounded
staleness follows AReaL (arXiv 2505.24298, section 5.1, equation 3): at most (k + 1) · B tasks are selected and not yet
trained, with k = `max_staleness` and B = `tasks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from bots.support.event_log import EventLog

Key = tuple[int, int]
"""(wave, row): the number of the selection, and the task's row in the pool."""
Place = Literal["waiting", "generating", "grading", "ready"]
PLACES: tuple[Place, ...] = ("waiting", "generating", "grading", "ready")


class LedgerError(RuntimeError):
    """A task would be counted twice, or is not in the ledger."""


@dataclass(slots=True)
class Entry:
    """A selected task that is not trained yet.

    - order: its position among all selected tasks.
    - version: the oldest policy version that may have sampled a token of its completions; None while it waits.
    - done: its position among all completed tasks; 0 until then.
    - rollouts: completions in its group, or in its first round; None: the run's n.
    - held: `version` of the completions from earlier rounds; None if there are none.
    """

    order: int
    place: Place = "waiting"
    version: int | None = None
    done: int = 0
    rollouts: int | None = None
    held: int | None = None


class Ledger:
    """Places of the selected tasks, and the rule that forms a step's batch.

    tasks: B, the size of a wave and of a batch. max_staleness: k. path: JSON lines of every event, which `audit`
    checks; None keeps no record.

    Engines may start wave w from policy version w - 1 - k on. So everything started at version u or earlier belongs
    to the waves up to u + k + 1 and fits into the steps up to u + k + 1. A group started at version u is trained at
    most k versions later, and no group is dropped as too old.
    """

    def __init__(self, tasks: int, max_staleness: int, path: str | Path | None = None) -> None:
        self.tasks, self.max_staleness = tasks, max_staleness
        self.step = 0
        self.wave = 0
        self._entries: dict[Key, Entry] = {}
        self._selected = self._completed = 0
        self._counts: dict[Place, int] = dict.fromkeys(PLACES, 0)
        # Order, rollouts and reason for each.
        self._dropped: dict[Key, tuple[int, int | None, str]] = {}
        self._log = EventLog(path) if path is not None else None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    @property
    def rows(self) -> list[int]:
        """Rows in flight, which must not be selected again."""
        return [row for _, row in self._entries]

    @property
    def wants_wave(self) -> bool:
        """Whether the next wave may be selected: at most k waves ahead of the next step."""
        return self.wave < self.step + 1 + self.max_staleness

    def select(self, wave: int, rows: Iterable[int], rollouts: Iterable[int] | None = None) -> None:
        """Add a wave. rollouts: completions of each group, or of its first round; None: the run's n.

        Raises LedgerError for a wave out of turn or a row in flight.
        """
        if wave != self.wave + 1:
            raise LedgerError(f"wave {wave} was selected after wave {self.wave}")
        self._draw(wave, rows, rollouts)
        self.wave = wave

    def refill(self, rows: Iterable[int], rollouts: Iterable[int] | None = None) -> None:
        """Add more tasks to the newest wave; rollouts as in `select`.

        Raises LedgerError for a row that is in flight or was dropped from this wave.
        """
        self._draw(self.wave, rows, rollouts)

    def rollouts(self, key: Key) -> int | None:
        """Completions of a task's group, or of its first round; None: the run's n."""
        return self._entries[key].rollouts

    def may_begin(self, key: Key, version: int) -> bool:
        """Whether an engine with this policy version may start the task."""
        return key[0] <= version + 1 + self.max_staleness

    def at(self, place: Place) -> list[Key]:
        """The keys at a place, in order of selection."""
        return [key for key, entry in self._entries.items() if entry.place == place]

    def counts(self) -> dict[Place, int]:
        """How many tasks are at each place."""
        return dict(self._counts)

    def generate(self, key: Key, version: int) -> None:
        """An engine with policy version `version` started the task."""
        self._sampled(self._move(key, "waiting", "generating"), version)

    def generated(self, key: Key, version: int) -> None:
        """All completions of the round have arrived; `version` is that of their oldest token."""
        self._sampled(self._move(key, "generating", "grading"), version)

    def another_round(self, key: Key) -> None:
        """The group keeps its completions and needs more: it waits again and keeps its age."""
        entry = self._move(key, "grading", "waiting")
        entry.held = entry.version

    def graded(self, key: Key) -> None:
        """All completions have rewards."""
        self._completed += 1
        self._move(key, "grading", "ready").done = self._completed

    def again(self, key: Key) -> None:
        """The engine with this task was lost: the task waits again and keeps completions from earlier rounds."""
        entry = self._move(key, "generating", "waiting")
        entry.version = entry.held

    def drop(self, key: Key, reason: str) -> None:
        """Drop a task for this reason."""
        if key not in self._entries:
            raise LedgerError(f"{_name(key)} is dropped, but not in flight")
        self._note("dropped", wave=key[0], row=key[1], step=self.step + 1, reason=reason)
        entry = self._entries.pop(key)
        self._counts[entry.place] -= 1
        self._dropped[key] = entry.order, entry.rollouts, reason

    def leave_out(self, keys: Sequence[Key], reason: str) -> None:
        """Leave ready tasks out of the last step's batch: their evidence counts, but they are not trained on."""
        for key in keys:
            self._entry(key, "ready")
            self._note("dropped", wave=key[0], row=key[1], step=self.step, reason=reason)
            del self._entries[key]
        self._counts["ready"] -= len(keys)

    @property
    def dropped(self) -> list[str]:
        """Reasons for the drops since the last step."""
        return [reason for *_, reason in self._dropped.values()]

    @property
    def dropped_rows(self) -> list[int]:
        """Rows dropped since the last step."""
        return [row for _, row in self._dropped]

    def due(self) -> list[Key] | None:
        """The next step's batch in order of selection, or None while it is incomplete.

        The oldest versions go first, and within a version those that completed first. A task dropped since the last
        step leaves its place in the batch empty. The batch waits for tasks that would be too old one step later and
        never drops them. So that every task fits into the steps it has left, at most j · B tasks may remain that must
        be trained within the next j steps (j = 0 … k). At k = 0 the batch is the whole wave.
        """
        size = max(0, self.tasks - len(self._dropped))
        if self.wave <= self.step or self._counts["ready"] < min(size, len(self._entries)):
            return None
        # Indexed by the number of steps left after this one.
        left = [0] * (self.max_staleness + 1)
        ready = []
        for key, entry in self._entries.items():
            if entry.version is not None:
                left[entry.version - self.step + self.max_staleness] += 1
            if entry.place == "ready":
                ready.append(key)
        needed = [total - j * self.tasks for j, total in enumerate(accumulate(left))]
        size = max(size, *needed)
        ready.sort(key=lambda key: (self._version(key), self._entries[key].done))
        chosen = ready[:size]
        taken = [0] * (self.max_staleness + 1)
        for key in chosen:
            taken[self._version(key) - self.step + self.max_staleness] += 1
        if any(have < need for have, need in zip(accumulate(taken), needed, strict=True)):
            return None
        return sorted(chosen, key=lambda key: self._entries[key].order)

    def _version(self, key: Key) -> int:
        version = self._entries[key].version
        if version is None:
            raise LedgerError(f"{_name(key)} is ready, but has no policy version")
        return version

    def blocked_by(self) -> Place:
        """What the batch waits for: tasks at an engine, or at a grader."""
        return "generating" if self._counts["generating"] or self._counts["waiting"] else "grading"

    def train(self, keys: Sequence[Key]) -> None:
        """Train the next step on these tasks and count their evidence."""
        for key in keys:
            entry = self._entry(key, "ready")
            if entry.version is None or self.step - entry.version > self.max_staleness:
                raise LedgerError(
                    f"{_name(key)} has policy version {entry.version}, too old for step {self.step + 1}"
                )
        self.step += 1
        self._note("trained", step=self.step, tasks=keys)
        for key in keys:
            del self._entries[key]
        self._counts["ready"] -= len(keys)
        self._dropped = {}

    def state(self) -> dict[str, Any]:
        """State for a checkpoint: counters and the tasks in flight, which are generated again after a restore.

        Tasks dropped since the last step are included: going back to that step gives them another chance.
        """
        entries = {key: (entry.order, entry.rollouts) for key, entry in self._entries.items()}
        entries |= {key: (order, rollouts) for key, (order, rollouts, _) in self._dropped.items()}
        keys = sorted(entries, key=entries.__getitem__)
        state = {"step": self.step, "wave": self.wave, "under_way": keys}
        if any(rollouts is not None for _, rollouts in entries.values()):
            state["rollouts"] = [entries[key][1] for key in keys]
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to `state()`; every task in flight then waits for an engine again."""
        self._note("rewound", **state)
        self.step, self.wave = state["step"], state["wave"]
        self._selected = self._completed = 0
        self._counts = dict.fromkeys(PLACES, 0)
        self._dropped = {}
        self._entries = {}
        keys = state["under_way"]
        for (wave, row), rollouts in zip(keys, state.get("rollouts", [None] * len(keys)), strict=True):
            self._enter((wave, row), rollouts)

    def sync(self) -> None:
        """Flush the file to disk, so that it survives a machine failure."""
        if self._log is not None:
            self._log.sync()

    def note_loss(self, actor: str, reason: str, tasks: Sequence[Key]) -> None:
        """Record the loss of an actor and of the tasks it had."""
        self._note("lost", actor=actor, reason=reason, tasks=tasks)

    def note_joined(self, actor: str, seconds: float) -> None:
        """Record that an engine is ready; seconds: since it was lost or added."""
        self._note("joined", actor=actor, step=self.step, seconds=round(seconds, 3))

    def _draw(self, wave: int, rows: Iterable[int], rollouts: Iterable[int] | None) -> None:
        rows = [int(row) for row in rows]
        if known := set(self.rows) & set(rows):
            raise LedgerError(f"row {min(known)} was selected in wave {wave} while it is in flight")
        if again := {(wave, row) for row in rows} & self._dropped.keys():
            row = min(again)[1]
            raise LedgerError(f"row {row} was selected again in wave {wave}, which dropped it")
        sizes: list[int] | None = None if rollouts is None else [int(count) for count in rollouts]
        self._note("selected", wave=wave, rows=rows, **({} if sizes is None else {"rollouts": sizes}))
        for place, row in enumerate(rows):
            self._enter((wave, row), None if sizes is None else sizes[place])

    def _entry(self, key: Key, place: Place) -> Entry:
        entry = self._entries.get(key)
        if entry is None or entry.place != place:
            found = "not in flight" if entry is None else entry.place
            raise LedgerError(f"{_name(key)} should be {place}, but is {found}")
        return entry

    def _move(self, key: Key, place: Place, to: Place) -> Entry:
        entry = self._entry(key, place)
        entry.place = to
        self._counts[place] -= 1
        self._counts[to] += 1
        return entry

    def _sampled(self, entry: Entry, version: int) -> None:
        entry.version = version if entry.held is None else min(version, entry.held)

    def _enter(self, key: Key, rollouts: int | None) -> None:
        self._selected += 1
        self._entries[key] = Entry(self._selected, rollouts=rollouts)
        self._counts["waiting"] += 1

    def _note(self, event: str, **what: Any) -> None:
        if self._log is not None:
            self._log.append({"event": event, **what})


EMPTY: dict[str, Any] = {"step": 0, "wave": 0, "under_way": []}
"""The state of a ledger before the first selection."""


@dataclass(slots=True)
class Audit:
    """Summary of a ledger's file. trained: step of each task; dropped: its reason; under_way: tasks in flight."""

    trained: dict[Key, int]
    dropped: dict[Key, str]
    under_way: set[Key]
    losses: int
    rewinds: int

    @property
    def selected(self) -> int:
        """Number of selected tasks, excluding those that a rewind has undone."""
        return len(self.trained) + len(self.dropped) + len(self.under_way)


def audit(path: str | Path) -> Audit:
    """Read a run's `ledger.jsonl` and check that every selected task is at exactly one place.

    Raises LedgerError for a task that was selected twice in a wave, or trained or dropped twice or unselected.
    """
    trained: dict[Key, int] = {}
    dropped: dict[Key, tuple[int, str]] = {}
    under_way: set[Key] = set()
    losses = rewinds = 0

    def leave(key: Key, what: str) -> Key:
        if key not in under_way:
            raise LedgerError(f"{path}: {_name(key)} is {what}, but it was not in flight")
        under_way.remove(key)
        return key

    for event in EventLog(path).replay():
        match event["event"]:
            case "selected":
                keys = {(event["wave"], row) for row in event["rows"]}
                if len(keys) != len(event["rows"]) or {row for _, row in keys} & {
                    row for _, row in under_way
                }:
                    raise LedgerError(f"{path}: wave {event['wave']} selects a row that is in flight")
                for key in keys & (trained.keys() | dropped.keys()):
                    raise LedgerError(f"{path}: wave {key[0]} selects row {key[1]} again")
                under_way |= keys
            case "trained":
                for key in _keys(event["tasks"]):
                    trained[leave(key, "trained")] = event["step"]
            case "dropped":
                key = leave((event["wave"], event["row"]), "dropped")
                dropped[key] = event["step"], event["reason"]
            case "lost":
                losses += 1
            case "rewound":
                rewinds += 1
                step = event["step"]
                under_way = set(_keys(event["under_way"]))
                trained = {key: at for key, at in trained.items() if at <= step}
                dropped = {key: (at, why) for key, (at, why) in dropped.items() if at <= step}
                for key in under_way & (trained.keys() | dropped.keys()):
                    raise LedgerError(
                        f"{path}: {_name(key)} is in flight again although it was trained or dropped"
                    )
    return Audit(trained, {key: why for key, (_, why) in dropped.items()}, under_way, losses, rewinds)


def _keys(pairs: Iterable[Sequence[int]]) -> Iterator[Key]:
    return ((wave, row) for wave, row in pairs)


def _name(key: Key) -> str:
    return f"row {key[1]} of wave {key[0]}"
