"""What every adapter shares: waves of tasks out, rewards in as they come, all of it saved and loaded."""

from __future__ import annotations

import base64
import json
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

from bots.adapters.scale import Scale, to_unit
from bots.allocation import EVEN
from bots.core import BOTS
from bots.pool import check_rows
from bots.support.arrays import Rows
from bots.support.checks import whole
from bots.support.files import replacing

POSTERIOR, WAVES = "posterior.arrow", "waves.json"
_FREE = ("p_star", "lam", "rho", "threads")
"""Settings that may differ between a checkpoint and the run that resumes it: the first three tune themselves."""


@dataclass(frozen=True, slots=True)
class Wave:
    """One selection. number: of the wave. rows: int64 (B,), distinct. rollouts: int64 (B,), completions of each."""

    number: int
    rows: Rows
    rollouts: Rows


class Curriculum:
    """BOTS as the loop of another trainer needs it.

    bots: the posterior; the trainer's data set is its pool, row by row.
    scale: how a reward becomes a number in [0, 1]; see `bots.adapters.scale`. None: it is one already.
    wave: tasks drawn at a time by `take`, for trainers that ask for one task after the other; one optimizer step's
        worth, since the posterior forgets once a wave.
    ragged: whether the trainer takes groups of different sizes. If it does not, `bots` must have allocation `even`.

    A group is complete when as many rewards arrived as the wave has rollouts for it (n, with allocation `even`); only
    then is it counted, once. Groups may arrive in pieces, in any order and late, up to `history` waves behind. With a
    staged allocation, such as `until_signal`, `wanted` says what is missing after each round.

    Threads and processes: all methods take a lock, so threads may share a Curriculum. BOTS itself has no lock: leave
    the calls to the Curriculum while it is in use. Processes cannot share one: keep it in the process that feeds the
    data, and send it rows and rewards.
    """

    def __init__(
        self, bots: BOTS, *, scale: Scale = None, wave: int | None = None, ragged: bool = False
    ) -> None:
        if not isinstance(bots, BOTS):
            raise TypeError(f"bots is a {type(bots).__name__}; it must be a bots.BOTS")
        if not ragged:
            _require_even(bots)
        self.bots, self._ragged = bots, ragged
        self.scale = scale
        self._size = None if wave is None else whole("wave", wave, 1)
        self._lock = RLock()
        # Rewards that arrived for each row of each wave; None once the group was counted or dropped.
        self._waves: dict[int, dict[int, list[float] | None]] = {}
        # Completions of each group, where sizes may differ.
        self._sizes: dict[int, dict[int, int]] = {}
        self._queue: list[int] = []
        self._queued = -1
        self._counts = {"repeated": 0, "expired": 0, "ungraded": 0, "dropped": 0}

    def select(self, batch: int) -> Wave:
        """Select the next wave of `batch` distinct tasks; those in flight are left out where enough others remain."""
        with self._lock:
            self._prune()
            flying = self.in_flight()
            if len(self.bots.pool) - len(flying) < batch:
                flying = np.empty(0, np.int64)
            number = max([self.bots.step, *self._waves]) + 1
            rows = self.bots.select(batch, step=number, exclude=flying)
            self._waves[number] = {row: [] for row in rows.tolist()}
            rollouts = self.bots.allocate(rows, step=number)
            if self._ragged:
                self._sizes[number] = dict(zip(rows.tolist(), rollouts.tolist(), strict=True))
            return Wave(number, rows, rollouts)

    def wanted(self) -> dict[tuple[int, int], int]:
        """How many rewards each open group still awaits, by wave number and row: what is left to generate."""
        with self._lock:
            return {(n, row): self._size_of(n, row) - len(group) for n, row, group in self._open()}

    def take(self, tasks: int) -> list[tuple[int, int]]:
        """The next tasks as pairs of wave number and row; a wave of `wave` tasks is drawn whenever one is used up."""
        if self._size is None:
            raise ValueError("take needs to know how many tasks make a wave: Curriculum(bots, wave=…)")
        with self._lock:
            taken = []
            for _ in range(whole("tasks", tasks, 1)):
                if not self._queue:
                    wave = self.select(self._size)
                    self._queue, self._queued = wave.rows.tolist(), wave.number
                taken.append((self._queued, self._queue.pop(0)))
            return taken

    def observe(
        self, rows: npt.ArrayLike, rewards: npt.ArrayLike, wave: int | None = None, *, complete: bool = False
    ) -> int:
        """Take the rewards of completions; returns how many groups they completed.

        rows: (N,), the task of each completion, in any order. rewards: (N,); NaN for a completion that was not graded:
        it fills its place in the group and is no evidence.
        wave: number of the wave they were selected in; None: for each row the oldest wave that awaits it.
        complete: whether these groups are complete however many rewards they have.
        A group that was counted before is left alone (metric `repeated`), and so is one of a wave that is too old
        (`expired`). Raises ValueError, before anything changes, for a row that was not selected and for rewards that
        `scale` does not bring into [0, 1].
        """
        with self._lock:
            self._prune()
            tasks = check_rows(self.bots.pool, rows)
            values = np.asarray(rewards, np.float64)
            if values.shape != tasks.shape:
                raise ValueError(
                    f"rewards have shape {values.shape}, and rows {tasks.shape}; one for each completion"
                )
            values = to_unit(values, self.scale, lambda at: self._named(int(tasks[at])))
            if wave is not None and wave < self._oldest():
                self._counts["expired"] += len(np.unique(tasks))
                return 0
            numbers = {row: self._wave_of(row) if wave is None else wave for row in np.unique(tasks).tolist()}
            for row, number in numbers.items():
                if row not in self._waves.get(number, {}):
                    raise ValueError(f"{self._named(row)} was not selected in wave {number}")
            for row in [row for row, number in numbers.items() if self._waves[number][row] is None]:
                self._counts["repeated"] += 1
                del numbers[row]
            for row, value in zip(tasks.tolist(), values.tolist(), strict=True):
                if row in numbers:
                    self._group(numbers[row], row).append(value)
            return self._count([(w, r) for r, w in numbers.items() if complete or self._complete(w, r)])

    def flush(self, wave: int | None = None) -> int:
        """Count the groups of a wave (None: of all waves) as far as they arrived; returns how many."""
        with self._lock:
            return self._count([(n, r) for n, r, group in self._open() if group and wave in (None, n)])

    def drop(self, rows: npt.ArrayLike, wave: int | None = None) -> None:
        """Stop waiting for these tasks, e.g. because the trainer gave them up. They are no evidence."""
        with self._lock:
            for row in np.unique(check_rows(self.bots.pool, rows)).tolist():
                number = self._wave_of(row) if wave is None else wave
                if self._waves.get(number, {}).get(row) is not None:
                    self._waves[number][row] = None
                    self._counts["dropped"] += 1

    def in_flight(self) -> Rows:
        """Rows that were selected and whose group is not complete, sorted, int64."""
        with self._lock:
            return np.unique(np.array([row for _, row, _ in self._open()], np.int64))

    def handed_out(self) -> Rows:
        """Rows in flight that `take` has handed out, sorted, int64."""
        with self._lock:
            return np.setdiff1d(self.in_flight(), np.array(self._queue, np.int64))

    def metrics(self) -> dict[str, float]:
        """`BOTS.metrics`, the mean belief of the pool, the tasks in flight, and what was left out so far."""
        with self._lock:
            mean = float(np.mean(self.bots.alpha / (self.bots.alpha + self.bots.beta)))
            counts = {f"groups/{name}": float(count) for name, count in self._counts.items()}
            return {
                **self.bots.metrics(),
                "belief/mean": mean,
                "in_flight": float(len(self.in_flight())),
                **counts,
            }

    def save(self, folder: str | Path) -> None:
        """Write `posterior.arrow`, which `BOTS.load` reads, and `waves.json` into a folder, which is made."""
        with self._lock:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with replacing(Path(folder) / WAVES) as partial:
                partial.write_text(json.dumps(self._state()))
            self.bots.save(Path(folder) / POSTERIOR)

    def load(self, folder: str | Path) -> None:
        """Restore what `save` wrote: the next waves are the same, bit for bit. `bots` itself becomes the saved one.

        Settings are the saved ones; a warning names those that differ. Raises SnapshotError, with nothing changed, for
        a folder without a posterior and for a data set that is not the one it was saved with.
        """
        with self._lock:
            loaded = BOTS.load(Path(folder) / POSTERIOR, self.bots.pool)
            if not self._ragged:
                _require_even(loaded)
            state = json.loads((Path(folder) / WAVES).read_text())
            before = self.bots.settings
            changed = {
                name: (before[name], value)
                for name, value in loaded.settings.items()
                if name not in _FREE and value != before[name]
            }
            # The caller holds this very object, and so may the trainer.
            vars(self.bots).update(vars(loaded))
            self._restore(state)
        if changed:
            said = "; ".join(f"{name} is {old!r} here, {new!r} there" for name, (old, new) in changed.items())
            warnings.warn(f"{folder} goes on with its own settings: {said}", stacklevel=2)

    def state_dict(self) -> dict[str, Any]:
        """What `save` writes, as one JSON value, for trainers that keep such dicts themselves."""
        with tempfile.TemporaryDirectory() as folder:
            self.save(folder)
            posterior = base64.b64encode((Path(folder) / POSTERIOR).read_bytes()).decode()
            return {"posterior": posterior, "waves": json.loads((Path(folder) / WAVES).read_text())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, as `load` does."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / POSTERIOR).write_bytes(base64.b64decode(state["posterior"]))
            (Path(folder) / WAVES).write_text(json.dumps(state["waves"]))
            self.load(folder)

    def _state(self) -> dict[str, Any]:
        waves = {
            str(number): [[row, group] for row, group in wave.items()] for number, wave in self._waves.items()
        }
        state = {"waves": waves, "queue": self._queue, "queued": self._queued, "counts": self._counts}
        if self._ragged:
            state["sizes"] = {
                str(number): [[row, size] for row, size in wave.items()]
                for number, wave in self._sizes.items()
            }
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        self._waves = {int(n): {row: group for row, group in wave} for n, wave in state["waves"].items()}
        self._queue, self._queued, self._counts = state["queue"], state["queued"], state["counts"]
        sizes = state.get("sizes", {})
        self._sizes = {int(n): {row: size for row, size in wave} for n, wave in sizes.items()}

    def _count(self, groups: list[tuple[int, int]]) -> int:
        """Give these groups to the posterior, oldest wave first; returns how many had a graded completion."""
        counted = 0
        for number in sorted({number for number, _ in groups}):
            rows, graded = [], []
            for row in sorted(row for wave, row in groups if wave == number):
                rewards = [reward for reward in self._group(number, row) if reward == reward]
                if rewards:
                    rows.append(row)
                    graded.append(rewards)
                else:
                    self._counts["ungraded"] += 1
            if rows:
                self.bots.observe(rows, graded, step=number)
            counted += len(rows)
            self._waves[number].update((row, None) for wave, row in groups if wave == number)
        return counted

    def _size_of(self, number: int, row: int) -> int:
        return self._sizes.get(number, {}).get(row, int(self.bots.settings["rollouts"]))

    def _complete(self, number: int, row: int) -> bool:
        """Whether the group has all of its rewards, also by the allocation, which may ask for another round."""
        group = self._group(number, row)
        if len(group) < self._size_of(number, row):
            return False
        graded = [reward for reward in group if reward == reward]
        # An ungraded completion fills a place for good, also of the most that a group may have.
        room = self.bots.allocator.most - len(group)
        more = min(self.bots.allocator.more(graded), room) if graded and room > 0 else 0
        if more:
            self._sizes[number][row] = len(group) + more
        return not more

    def _group(self, number: int, row: int) -> list[float]:
        group = self._waves[number][row]
        assert group is not None, "a group that was counted takes no more rewards"
        return group

    def _open(self) -> Iterable[tuple[int, int, list[float]]]:
        for number, wave in self._waves.items():
            for row, group in wave.items():
                if group is not None:
                    yield number, row, group

    def _wave_of(self, row: int) -> int:
        """The oldest wave that awaits a row, else the latest that selected it."""
        holding = sorted(number for number, wave in self._waves.items() if row in wave)
        if not holding:
            raise ValueError(
                f"{self._named(row)} was not selected in any of the last {self.bots.settings['history']} waves"
            )
        return next((n for n in holding if self._waves[n][row] is not None), holding[-1])

    def _oldest(self) -> int:
        return max(0, self.bots.step - int(self.bots.settings["history"]) + 1)

    def _prune(self) -> None:
        for number in [number for number in self._waves if number < self._oldest()]:
            self._counts["expired"] += sum(group is not None for group in self._waves.pop(number).values())
            self._sizes.pop(number, None)

    def _named(self, row: int) -> str:
        return f"row {row} (id {self.bots.pool.ids([row])[0]})"


def _require_even(bots: BOTS) -> None:
    allocation = bots.settings["allocation"]
    if allocation != EVEN:
        raise ValueError(
            f"bots has allocation {allocation!r}, which gives tasks different numbers of rollouts, but this trainer "
            f"takes groups of one size; make it BOTS(pool, allocation={EVEN!r}), or, for a loop that takes groups of "
            "any size, Curriculum(bots, ragged=True)"
        )
