"""The ledger: where every selected task is on its way from selection to training, and when a batch is due.

Nothing is selected twice while it is under way, nothing is trained or observed twice, nothing gets lost without
a reason. Every entry is at exactly one of these places:

    waiting → generating → grading → ready → trained (at a step)
       ↑__________|___________|        or dropped (with a reason)

A task that is selected again later is another entry: the key is (wave, row), the wave being the number of the
selection. Bounded staleness follows AReaL (arXiv 2505.24298, section 5.1, equation 3): at most (k + 1) · B tasks are
selected and not yet trained, k = `max_staleness`, B = `tasks`.
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
    """A task that would be counted twice, or that the ledger doesn't know."""


@dataclass(slots=True)
class Entry:
    """One selected task that is not trained yet.

    order: its place among all selected. version: the oldest policy version that may have sampled a token of
    its answers; None while it waits. done: its place among all completed; 0 until then.
    """

    order: int
    place: Place = "waiting"
    version: int | None = None
    done: int = 0


class Ledger:
    """Places of the selected tasks, and the rule by which a step's batch is put together.

    tasks: B, tasks of one wave and of one batch. max_staleness: k. path: JSON lines of all that happened, to be
    audited with `audit`; None keeps no record.

    Wave w may be given to engines from policy version w - 1 - k on. So all that was begun at version u or before
    belongs to the waves up to u + k + 1, and fits into the steps up to u + k + 1: a group begun at version u is
    trained at most k versions later, and none need be thrown away for its age.
    """

    def __init__(self, tasks: int, max_staleness: int, path: str | Path | None = None) -> None:
        self.tasks, self.max_staleness = tasks, max_staleness
        self.step = 0
        self.wave = 0
        self._entries: dict[Key, Entry] = {}
        self._selected = self._completed = 0
        self._counts: dict[Place, int] = dict.fromkeys(PLACES, 0)
        self._dropped: dict[Key, tuple[int, str]] = {}
        self._log = EventLog(path) if path is not None else None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    @property
    def rows(self) -> list[int]:
        """Rows under way, which must not be selected again."""
        return [row for _, row in self._entries]

    @property
    def wants_wave(self) -> bool:
        """Whether the next wave may be selected: k waves may be ahead of the step that comes next."""
        return self.wave < self.step + 1 + self.max_staleness

    def select(self, wave: int, rows: Iterable[int]) -> None:
        """A wave was drawn. Raises LedgerError for a wave out of turn or a row that is under way."""
        if wave != self.wave + 1:
            raise LedgerError(f"wave {wave} was selected after wave {self.wave}")
        self._draw(wave, rows)
        self.wave = wave

    def refill(self, rows: Iterable[int]) -> None:
        """More tasks were drawn for the newest wave.

        Raises LedgerError for a row that is under way or was dropped from this wave.
        """
        self._draw(self.wave, rows)

    def may_begin(self, key: Key, version: int) -> bool:
        """Whether a task may be given to an engine that holds this policy version."""
        return key[0] <= version + 1 + self.max_staleness

    def at(self, place: Place) -> list[Key]:
        """The keys at a place, in the order in which they were selected."""
        return [key for key, entry in self._entries.items() if entry.place == place]

    def counts(self) -> dict[Place, int]:
        """How many tasks are at each place."""
        return dict(self._counts)

    def generate(self, key: Key, version: int) -> None:
        """An engine that holds `version` got the task."""
        self._move(key, "waiting", "generating").version = version

    def answered(self, key: Key, version: int) -> None:
        """All answers are there; `version` is that of their oldest token."""
        self._move(key, "generating", "grading").version = version

    def graded(self, key: Key) -> None:
        """All answers have rewards."""
        self._completed += 1
        self._move(key, "grading", "ready").done = self._completed

    def again(self, key: Key) -> None:
        """The engine was lost that had the task: it waits again."""
        entry = self._move(key, "generating", "waiting")
        entry.version = None

    def drop(self, key: Key, reason: str) -> None:
        """Give a task up, for a reason."""
        if key not in self._entries:
            raise LedgerError(f"{_name(key)} is dropped, but not under way")
        self._note("dropped", wave=key[0], row=key[1], step=self.step + 1, reason=reason)
        entry = self._entries.pop(key)
        self._counts[entry.place] -= 1
        self._dropped[key] = entry.order, reason

    def leave_out(self, keys: Sequence[Key], reason: str) -> None:
        """The last step's batch did without these ready tasks: their evidence counts, they are not trained on."""
        for key in keys:
            self._entry(key, "ready")
            self._note("dropped", wave=key[0], row=key[1], step=self.step, reason=reason)
            del self._entries[key]
        self._counts["ready"] -= len(keys)

    @property
    def dropped(self) -> list[str]:
        """Reasons of what was dropped since the last step."""
        return [reason for _, reason in self._dropped.values()]

    @property
    def dropped_rows(self) -> list[int]:
        """Rows of what was dropped since the last step."""
        return [row for _, row in self._dropped]

    def due(self) -> list[Key] | None:
        """The next step's batch in the order of selection, or None while it must be waited for.

        The oldest versions first, and of one version what completed first. A task dropped since the last step
        leaves its place in the batch empty. What would be too old at the step after is waited for, never dropped;
        and so that it all fits into the steps that are left to it, at most j · B tasks may remain that are to be
        trained within the j steps to come (j = 0 … k). At k = 0 the batch is the whole wave.
        """
        size = max(0, self.tasks - len(self._dropped))
        if self.wave <= self.step or self._counts["ready"] < min(size, len(self._entries)):
            return None
        # By the number of steps that are left after this one.
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
            raise LedgerError(f"{_name(key)} is ready, but of no version")
        return version

    def blocked_by(self) -> Place:
        """What the batch waits for most: tasks with an engine, or with a grader."""
        return "generating" if self._counts["generating"] or self._counts["waiting"] else "grading"

    def train(self, keys: Sequence[Key]) -> None:
        """The next step trains on these; their evidence is counted with it."""
        for key in keys:
            entry = self._entry(key, "ready")
            if entry.version is None or self.step - entry.version > self.max_staleness:
                raise LedgerError(
                    f"{_name(key)} is of version {entry.version}, too old for step {self.step + 1}"
                )
        self.step += 1
        self._note("trained", step=self.step, tasks=keys)
        for key in keys:
            del self._entries[key]
        self._counts["ready"] -= len(keys)
        self._dropped = {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: counters and the tasks under way, which are answered anew after a restore.

        Those dropped since the last step are among them: going back to that step gives them another chance.
        """
        orders = {key: entry.order for key, entry in self._entries.items()}
        orders |= {key: order for key, (order, _) in self._dropped.items()}
        return {"step": self.step, "wave": self.wave, "under_way": sorted(orders, key=orders.__getitem__)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to `state()`; everything under way then waits for an engine."""
        self._note("rewound", **state)
        self.step, self.wave = state["step"], state["wave"]
        self._selected = self._completed = 0
        self._counts = dict.fromkeys(PLACES, 0)
        self._dropped = {}
        self._entries = {}
        for wave, row in state["under_way"]:
            self._enter((wave, row))

    def sync(self) -> None:
        """Flush the file to the disk, so that it outlives the machine."""
        if self._log is not None:
            self._log.sync()

    def note_loss(self, actor: str, reason: str, tasks: Sequence[Key]) -> None:
        """Write down that an actor was lost, and which tasks it had."""
        self._note("lost", actor=actor, reason=reason, tasks=tasks)

    def note_joined(self, actor: str, seconds: float) -> None:
        """Write down that an engine is of use, so long after it was lost or hired."""
        self._note("joined", actor=actor, step=self.step, seconds=round(seconds, 3))

    def _draw(self, wave: int, rows: Iterable[int]) -> None:
        rows = [int(row) for row in rows]
        if known := set(self.rows) & set(rows):
            raise LedgerError(f"row {min(known)} was selected in wave {wave} while it is under way")
        if again := {(wave, row) for row in rows} & self._dropped.keys():
            row = min(again)[1]
            raise LedgerError(f"row {row} was selected in wave {wave} again, from which it was dropped")
        self._note("selected", wave=wave, rows=rows)
        for row in rows:
            self._enter((wave, row))

    def _entry(self, key: Key, place: Place) -> Entry:
        entry = self._entries.get(key)
        if entry is None or entry.place != place:
            found = "not under way" if entry is None else entry.place
            raise LedgerError(f"{_name(key)} should be {place}, but is {found}")
        return entry

    def _move(self, key: Key, place: Place, to: Place) -> Entry:
        entry = self._entry(key, place)
        entry.place = to
        self._counts[place] -= 1
        self._counts[to] += 1
        return entry

    def _enter(self, key: Key) -> None:
        self._selected += 1
        self._entries[key] = Entry(self._selected)
        self._counts["waiting"] += 1

    def _note(self, event: str, **what: Any) -> None:
        if self._log is not None:
            self._log.append({"event": event, **what})


EMPTY: dict[str, Any] = {"step": 0, "wave": 0, "under_way": []}
"""The state of a ledger before anything was selected."""


@dataclass(slots=True)
class Audit:
    """What a ledger's file comes to. trained: step of each; dropped: its reason; under_way: the rest."""

    trained: dict[Key, int]
    dropped: dict[Key, str]
    under_way: set[Key]
    losses: int
    rewinds: int

    @property
    def selected(self) -> int:
        """How many tasks were selected, those that a rewind has undone left out."""
        return len(self.trained) + len(self.dropped) + len(self.under_way)


def audit(path: str | Path) -> Audit:
    """Go through a run's `ledger.jsonl` and check that every selected task is at exactly one place.

    Raises LedgerError for a task that was selected twice in a wave, or trained or dropped twice or unselected.
    """
    trained: dict[Key, int] = {}
    dropped: dict[Key, tuple[int, str]] = {}
    under_way: set[Key] = set()
    losses = rewinds = 0

    def leave(key: Key, what: str) -> Key:
        if key not in under_way:
            raise LedgerError(f"{path}: {_name(key)} is {what}, but it was not under way")
        under_way.remove(key)
        return key

    for event in EventLog(path).replay():
        match event["event"]:
            case "selected":
                keys = {(event["wave"], row) for row in event["rows"]}
                if len(keys) != len(event["rows"]) or {row for _, row in keys} & {
                    row for _, row in under_way
                }:
                    raise LedgerError(f"{path}: wave {event['wave']} selects a row that is under way")
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
                    raise LedgerError(f"{path}: {_name(key)} is under way again though it was accounted for")
    return Audit(trained, {key: why for key, (_, why) in dropped.items()}, under_way, losses, rewinds)


def _keys(pairs: Iterable[Sequence[int]]) -> Iterator[Key]:
    return ((wave, row) for wave, row in pairs)


def _name(key: Key) -> str:
    return f"row {key[1]} of wave {key[0]}"
