"""Evidence without anchors: running means by domain, level and the like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bots.evidence.base import Evidence
from bots.pool import TaskPool, is_text, plain_type
from bots.support.arrays import Float32, Rows
from bots.support.observation import Observation

MAX_GROUPS = 65_536


class Online(Evidence):
    """p̃ is the recent mean pass rate of the task's group, shrunk towards its parent group's, and so on up.

    The columns nest: with `columns=["domain", "level"]` a task belongs to its (domain, level), whose parent
    is the domain, whose parent is the pool. A group's mean is an exponentially forgetting average over its
    observed tasks, with its parent's mean counted as `strength` additional tasks (the Beta-binomial hierarchy's
    posterior mean with a fixed concentration, Gelman et al., Bayesian Data Analysis, section 5.3). A group
    that was never observed has its parent's mean; before the first batch there is no evidence.

    A task counts once, whatever its number of rollouts, because the uncertainty of a group's mean comes from the
    spread between its tasks. Under selection the observed tasks are not a random sample of their group (they are
    nearer to p*); p̃ describes the tasks that selection reaches.

    columns: names of the pool's columns, from the widest to the narrowest, of strings, integers or booleans;
        null is a group too. By default the domain.
    gamma: weight of an observation after one more wave.
    strength: number of observed tasks that the parent's mean counts as.
    """

    def __init__(
        self,
        pool: TaskPool,
        columns: Sequence[str] = ("domain",),
        gamma: float = 0.95,
        strength: float = 4.0,
    ) -> None:
        super().__init__(pool)
        if isinstance(columns, str) or not columns:
            raise ValueError(f"columns is {columns!r}; it must be a list of column names, such as ['domain']")
        if not 0 <= gamma < 1:
            raise ValueError(f"gamma is {gamma}; it must be in [0, 1)")
        if not strength > 0:
            raise ValueError(f"strength is {strength}; it must be > 0")
        self.columns, self.gamma, self.strength = tuple(columns), gamma, strength
        self.keys: list[tuple[str | None, ...]] = []
        self.parents: list[int] = []
        self._index: dict[tuple[str | None, ...], int] = {}
        self._group(())
        self.leaf = self._leaves(pool)
        """int32 (K,): each task's narrowest group."""
        self.total, self.count = np.zeros(len(self.keys)), np.zeros(len(self.keys))
        """Forgetting sums over the observed tasks of each group: of pass rates, and of ones; float64."""
        self.wave = 0
        self._refresh()

    def _group(self, key: tuple[str | None, ...]) -> int:
        """Number of the group, made if new; parents have smaller numbers than their children."""
        if key not in self._index:
            parent = self._group(key[:-1]) if key else -1
            if len(self.keys) >= MAX_GROUPS:
                raise ValueError(
                    f"columns {list(self.columns)} make more than {MAX_GROUPS} groups; name coarser"
                )
            self._index[key] = len(self.keys)
            self.keys.append(key)
            self.parents.append(parent)
        return self._index[key]

    def _leaves(self, pool: TaskPool) -> npt.NDArray[np.int32]:
        """Walk down the columns: pair the parent's number with the value's code, and name the pairs found."""
        leaf = np.zeros(len(pool), np.int32)
        for depth, name in enumerate(self.columns):
            values, codes = _encode(pool, name)
            pairs, inverse = np.unique(leaf.astype(np.int64) * len(values) + codes, return_inverse=True)
            if len(pairs) > MAX_GROUPS:
                raise ValueError(
                    f"columns {list(self.columns[: depth + 1])} make {len(pairs)} groups; "
                    f"at most {MAX_GROUPS} are possible"
                )
            numbers = [
                self._group((*self.keys[p // len(values)], values[p % len(values)])) for p in pairs.tolist()
            ]
            leaf = np.array(numbers, np.int32)[inverse]
        return leaf

    def observe(self, observation: Observation) -> None:
        """Add the batch's tasks to their groups and all groups above; a late batch counts for less."""
        wave = observation.wave
        decay = self.gamma ** max(0, wave - self.wave)
        self.total *= decay
        self.count *= decay
        weight = self.gamma ** max(0, self.wave - wave)
        self.wave = max(self.wave, wave)
        parents = np.array(self.parents)
        group = self.leaf[observation.rows].astype(np.int64)
        for _ in range(len(self.columns) + 1):
            np.add.at(self.total, group, weight * observation.pass_rates)
            np.add.at(self.count, group, weight)
            group = parents[group]
        self._refresh()

    def _refresh(self) -> None:
        """Means from the top down, float32 (groups,). Nothing observed: NaN."""
        mean = np.full(len(self.keys), np.nan)
        if self.count[0] > 0:
            mean[0] = self.total[0] / self.count[0]
            for g in range(1, len(mean)):
                above = self.strength * mean[self.parents[g]]
                mean[g] = (self.total[g] + above) / (self.count[g] + self.strength)
        self.mean = np.clip(mean, 0, 1).astype(np.float32)

    def predict(self, start: int, stop: int, out: Float32) -> None:
        """p̃ of rows start … stop-1."""
        np.take(self.mean, self.leaf[start:stop], out=out)

    def predict_rows(self, rows: Rows) -> Float32:
        """p̃ of some rows."""
        return self.mean[self.leaf[rows]]

    def grow(self, pool: TaskPool) -> None:
        """New groups start at their parent's mean."""
        super().grow(pool)
        self.leaf = self._leaves(pool)
        new = len(self.keys) - len(self.total)
        self.total, self.count = np.append(self.total, np.zeros(new)), np.append(self.count, np.zeros(new))
        self._refresh()

    def state_dict(self) -> dict[str, Any]:
        """The forgetting sums by group; groups by name, since their numbers depend on how the pool grew."""
        keys = [list(key) for key in self.keys]
        return {"keys": keys, "total": self.total.copy(), "count": self.count.copy(), "step": self.wave}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        keys = [tuple(key) for key in state["keys"]]
        if unknown := [key for key in keys if key not in self._index]:
            raise ValueError(f"the state has a group {unknown[0]} of {self.columns} that the pool has not")
        numbers = [self._index[key] for key in keys]
        self.total, self.count = np.zeros(len(self.keys)), np.zeros(len(self.keys))
        self.total[numbers], self.count[numbers] = state["total"], state["count"]
        self.wave = int(state["step"])
        self._refresh()

    def metrics(self) -> dict[str, float]:
        """The pool's recent mean, and those of the widest groups that were observed."""
        values = {"mean": float(self.mean[0])} if self.count[0] > 0 else {}
        for key, mean, count in zip(self.keys, self.mean, self.count, strict=True):
            if len(key) == 1 and count > 0:
                values[f"mean/{key[0]}"] = float(mean)
        return values


def _encode(pool: TaskPool, name: str) -> tuple[list[str | None], npt.NDArray[np.int64]]:
    """Distinct values of a column as text, null last, and the code of each row."""
    if name == "domain":
        return list(pool.domains), pool.domain_codes.astype(np.int64)
    if name not in pool.table.column_names:
        raise ValueError(
            f"evidence 'online' needs the column {name!r}; the pool has {', '.join(pool.table.column_names)}"
        )
    column = pool.table[name]
    kind = plain_type(column)
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or is_text(kind)):
        raise ValueError(f"column {name!r} has type {kind}; groups are made of strings, integers or booleans")
    encoded = column.cast(kind).cast(pa.string()).combine_chunks().dictionary_encode()
    values: list[str | None] = encoded.dictionary.to_pylist()
    codes: npt.NDArray[np.int64] = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    return [*values, None], codes.astype(np.int64)
