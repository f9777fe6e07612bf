"""Neighbours: a task borrows evidence from the most similar recently observed tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bots.evidence.base import Evidence
from bots.pool import TaskPool
from bots.support.arrays import Float32, Float64, Rows
from bots.support.observation import Observation

TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
BLOCK = 4096


class Neighbours(Evidence):
    """p̃ is an attention-weighted mean of the pass rates of similar, recently observed tasks.

    In the spirit of DOTS (Sun et al. 2025, arXiv 2506.05316), which predicts a task's difficulty by attention
    from its embedding to those of a newly evaluated reference set. Here the reference set is the last `memory`
    distinct tasks observed in training, each with its newest pass rate, and

        p̃ = (Σ aᵣ·p̂ᵣ + p̄) / (Σ aᵣ + 1),   aᵣ = exp((cos(z, zᵣ) − 1) / T) · gamma^(age of r in waves),

    where p̄, the age-weighted mean of the memory, counts as one identical observation: a task without similar ones
    gets the mean. T is not trained offline like DOTS's adapter: it is the value of a small grid whose one-step-ahead
    predictions had the least squared error, with forgetting.

    Time and memory are bounded: at most `landmarks` tasks, spread evenly over the pool, are compared with the memory
    at each wave, O(landmarks · memory · dimensions), and every other task gets the prediction of the most similar
    landmark (found once, when the pool is read). A pool of at most `landmarks` tasks is predicted exactly. Memory:
    4 bytes per task.

    A task whose features are null or all zero has no prediction; before the first batch none has.

    column: the pool's column of features, a fixed-size list of floats: embeddings of the prompts, or any
        numbers that describe the tasks. Only the direction matters: center and scale the features beforehand.
    memory, landmarks: sizes, see above. gamma: weight of an observation after one more wave.
    """

    name = "evidence 'neighbours'"

    def __init__(
        self,
        pool: TaskPool,
        column: str = "embedding",
        memory: int = 512,
        landmarks: int = 1024,
        gamma: float = 0.98,
    ) -> None:
        super().__init__(pool)
        if memory < 1 or landmarks < 1:
            raise ValueError(f"memory is {memory} and landmarks {landmarks}; both must be at least 1")
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma is {gamma}; it must be in (0, 1]")
        self.column, self.gamma = column, gamma
        self.features = features_of(pool, column, self.name)
        self.landmark_rows = _spread(len(pool), landmarks)
        self.landmark_features = self._unit(self.landmark_rows)
        self.nearest = self._assign(0, len(pool))
        """int32 (K,): position of each task's landmark in `landmark_rows`; -1 without features."""
        self.memory_rows = np.full(memory, -1, np.int64)
        """int64 (memory,): the row in each slot, -1 where empty."""
        self.memory_rates = np.zeros(memory)
        self.memory_waves = np.zeros(memory, np.int64)
        self.wave = 0
        self.errors = 0.01 * np.abs(np.log(np.array(TEMPERATURES) / 0.1))  # 0.1 until there are scores
        """Forgetting sums of the squared one-step-ahead errors by temperature, float64."""
        self._refresh()

    def _unit(self, rows: Rows | slice) -> Float32:
        """Features of the rows scaled to length 1, float32 (R, d); NaN where there is no direction."""
        features = self.features[rows].astype(np.float32)
        length = np.linalg.norm(features, axis=1, keepdims=True)
        length[length == 0] = np.nan
        unit: Float32 = features / length
        return unit

    def _assign(self, start: int, stop: int) -> npt.NDArray[np.int32]:
        """The most similar landmark of each row, block by block."""
        nearest = np.empty(stop - start, np.int32)
        reference = np.nan_to_num(self.landmark_features)
        for low in range(start, stop, BLOCK):
            unit = self._unit(slice(low, min(low + BLOCK, stop)))
            best = np.argmax(unit @ reference.T, axis=1)
            best[np.isnan(unit[:, 0])] = -1
            nearest[low - start : low - start + len(best)] = best
        return nearest

    def observe(self, observation: Observation) -> None:
        """Score the temperatures on the batch, then store it; a task takes its old slot or the oldest one."""
        usable = observation.only(self.nearest[observation.rows] >= 0)
        wave, rows, p_hat = usable.wave, usable.rows, usable.pass_rates
        if len(rows) == 0:
            return
        self.wave = max(self.wave, wave)
        if (self.memory_rows >= 0).any():
            self._score(self._unit(rows), p_hat)
        for row, rate in zip(rows[-len(self.memory_rows) :], p_hat[-len(self.memory_rows) :], strict=True):
            known = np.flatnonzero(self.memory_rows == row)
            if len(known) and self.memory_waves[known[0]] > wave:
                continue  # a late batch must not replace what is newer
            age = np.where(self.memory_rows < 0, np.iinfo(np.int64).min, self.memory_waves)
            slot = known[0] if len(known) else int(np.argmin(age))
            self.memory_rows[slot], self.memory_rates[slot], self.memory_waves[slot] = row, rate, wave
        self._refresh()

    def _score(self, unit: Float32, rates: Float64) -> None:
        """Learn from the errors of the predictions (R,) of tasks whose pass rates are known now."""
        for i, temperature in enumerate(TEMPERATURES):
            error = np.mean((self._attend(unit, temperature) - rates) ** 2)
            self.errors[i] = self.gamma * self.errors[i] + error

    @property
    def temperature(self) -> float:
        """T in use."""
        return TEMPERATURES[int(np.argmin(self.errors))]

    def _attend(self, unit: Float32, temperature: float) -> Float64:
        """p̃ (R,) of tasks with the given unit features."""
        filled = np.flatnonzero(self.memory_rows >= 0)
        weight = self.gamma ** (self.wave - self.memory_waves[filled]).astype(np.float64)
        rates = self.memory_rates[filled]
        mean = np.sum(weight * rates) / np.sum(weight)
        attention = unit @ self._unit(self.memory_rows[filled]).T
        attention -= 1
        attention /= np.float32(temperature)
        np.exp(attention, out=attention)
        total = attention @ weight
        predicted: Float64 = (attention @ (weight * rates) + mean) / (total + 1)
        return np.clip(predicted, 0, 1)

    def _refresh(self) -> None:
        """Predictions of the landmarks, float32 (L + 1,), the last being NaN for tasks without features."""
        self.landmark_rates = np.full(len(self.landmark_rows) + 1, np.nan, np.float32)
        if (self.memory_rows >= 0).any():
            self.landmark_rates[:-1] = self._attend(self.landmark_features, self.temperature)

    def predict(self, start: int, stop: int, out: Float32) -> None:
        """p̃ of rows start … stop-1."""
        out[:] = self.landmark_rates[self.nearest[start:stop]]

    def predict_rows(self, rows: Rows) -> Float32:
        """p̃ of some rows."""
        return self.landmark_rates[self.nearest[rows]]

    def grow(self, pool: TaskPool) -> None:
        """New tasks take the most similar of the landmarks there are."""
        old = len(self.pool)
        self.features = features_of(pool, self.column, self.name)
        super().grow(pool)
        self.nearest = np.append(self.nearest, self._assign(old, len(pool)))

    def state_dict(self) -> dict[str, Any]:
        """Memory, temperature scores, and which rows are landmarks."""
        names = ("landmark_rows", "memory_rows", "memory_rates", "errors")
        state = {name: getattr(self, name).copy() for name in names}
        return {"step": self.wave, "memory_steps": self.memory_waves.copy(), **state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        size, own = len(state["memory_rows"]), len(self.memory_rows)
        if size != own:
            raise ValueError(f"the state remembers {size} tasks; this plug-in has memory={own}")
        landmark_rows = np.array(state["landmark_rows"], np.int64)
        newest = max(int(landmark_rows.max()), int(np.max(state["memory_rows"])))
        if newest >= len(self.pool):
            raise ValueError(f"the state names row {newest}; the pool has {len(self.pool)} rows")
        self.memory_rows = np.array(state["memory_rows"], np.int64)
        self.memory_rates = np.array(state["memory_rates"], np.float64)
        self.memory_waves = np.array(state["memory_steps"], np.int64)
        self.errors, self.wave = np.array(state["errors"], np.float64), int(state["step"])
        if not np.array_equal(landmark_rows, self.landmark_rows):  # the pool grew since they were drawn
            self.landmark_rows = landmark_rows
            self.landmark_features = self._unit(landmark_rows)
            self.nearest = self._assign(0, len(self.pool))
        self._refresh()

    def metrics(self) -> dict[str, float]:
        """Temperature in use, tasks remembered."""
        return {
            "temperature": self.temperature,
            "remembered": float(np.count_nonzero(self.memory_rows >= 0)),
        }


def _spread(size: int, count: int) -> Rows:
    """At most `count` row numbers, evenly over the pool."""
    if size <= count:
        return np.arange(size)
    return np.unique(np.linspace(0, size - 1, count).astype(np.int64))


def features_of(pool: TaskPool, name: str, needed_by: str) -> npt.NDArray[Any]:
    """View (K, d) of a fixed-size list column; a null list becomes zeros. Raises ValueError that names the column."""
    if name not in pool.table.column_names:
        raise ValueError(
            f"{needed_by} needs the feature column {name!r}; "
            f"the pool has {', '.join(pool.table.column_names)}"
        )
    column = pool.table[name]
    if not (pa.types.is_fixed_size_list(column.type) and pa.types.is_floating(column.type.value_type)):
        raise ValueError(f"column {name!r} has type {column.type}; it must be a fixed-size list of floats")
    width = column.type.list_size
    lists = pa.concat_arrays(column.chunks)
    features: npt.NDArray[Any] = (
        lists.values.slice(lists.offset * width, len(lists) * width)
        .to_numpy(zero_copy_only=False)
        .reshape(len(pool), width)
    )
    if lists.null_count:
        features = features.copy()
        features[lists.is_null().to_numpy(zero_copy_only=False)] = 0
    for low in range(0, len(pool), BLOCK):
        bad = ~np.isfinite(features[low : low + BLOCK]).all(axis=1)
        if bad.any():
            row = low + int(np.argmax(bad))
            raise ValueError(f"column {name!r} is not finite in row {row} (id {pool.ids([row])[0]})")
    return features
