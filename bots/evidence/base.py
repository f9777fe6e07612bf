"""The evidence interface: it sees a batch's pass rates and predicts those of all other tasks."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np

from bots.pool.plug_in import PoolPlugIn
from bots.support.arrays import Float32, Rows
from bots.support.observation import Observation

UNWRITTEN = 2.0
"""Fills the output before `predict`. It is no pass rate, so an element left unwritten is noticed."""


class EvidenceError(ValueError):
    """A plug-in predicted something other than a pass rate; names the plug-in, the row and the value."""


class Evidence(PoolPlugIn, ABC):
    """Implicit evidence: predicts every task's pass rate from the batch's (arXiv 2510.26374).

    For each batch, `observe` gets the pass rates. Then `predict` is called for p̃ of the whole pool, block by block,
    so that no array of the pool's size is allocated. A task whose p̃ is NaN gets no implicit evidence.

    A custom plug-in is a subclass named "module:Class" in the configuration and constructed as
    `cls(pool, **options)`. `bots.evidence.conformance` has the checks it must pass.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if len(signature(cls.observe).parameters) == len(("self", "step", "rows", "p_hat", "n")):
            # Plug-ins written before `Observation` keep working.
            cls.observe = _unpacking(cls)  # type: ignore[method-assign, assignment]

    @abstractmethod
    def observe(self, observation: Observation) -> None:
        """Learn from the observed pass rates of one batch, B ≥ 1 distinct tasks of the pool.

        The caller has checked the values; this must not raise.
        """

    @abstractmethod
    def predict(self, start: int, stop: int, out: Float32) -> None:
        """Write p̃ of rows start … stop-1 to every element of out, float32 (stop-start,): in [0, 1], or NaN for none.

        Must not change any state: several threads call it at once, for disjoint blocks.
        """

    def predict_rows(self, rows: Rows) -> Float32:
        """p̃ of some rows, float32 (len(rows),), equal to `predict`'s. Override it if this loop is too slow."""
        out = np.empty(len(rows), np.float32)
        for i, row in enumerate(rows.tolist()):
            self.predict(row, row + 1, out[i : i + 1])
        return out


def checked_predict(evidence: Evidence, start: int, stop: int, out: Float32) -> None:
    """Call `evidence.predict` and check the values it wrote. Raises EvidenceError."""
    out.fill(UNWRITTEN)
    evidence.predict(start, stop, out)
    if np.fmin.reduce(out) < 0 or np.fmax.reduce(out) > 1:  # NaN is neither
        at = int(np.argmax((out < 0) | (out > 1)))
        what = "left p̃ unwritten" if out[at] == UNWRITTEN else f"predicts p̃ = {out[at]}"
        raise EvidenceError(
            f"{_name(evidence)} {what} in row {start + at}; it must be in [0, 1], or NaN for none"
        )


def checked_predict_rows(evidence: Evidence, rows: Rows) -> Float32:
    """Call `evidence.predict_rows` and check shape and values. Raises EvidenceError."""
    rates = np.asarray(evidence.predict_rows(rows))
    if rates.shape != rows.shape or rates.dtype.kind != "f":
        raise EvidenceError(
            f"{_name(evidence)} returned {rates.dtype} of shape {rates.shape} for {len(rows)} rows; "
            f"predict_rows must return float32 ({len(rows)},)"
        )
    outside = (rates < 0) | (rates > 1)
    if outside.any():
        at = int(np.argmax(outside))
        raise EvidenceError(
            f"{_name(evidence)} predicts p̃ = {rates[at]} in row {rows[at]}; it must be in [0, 1], or NaN for none"
        )
    return rates.astype(np.float32, copy=False)


def _name(evidence: Evidence) -> str:
    return f"evidence {type(evidence).__module__}:{type(evidence).__qualname__}"


def _unpacking(cls: type[Evidence]) -> Callable[[Evidence, Observation], None]:
    """An `observe` that calls the class's own with (wave, rows, pass rates, rollouts)."""
    old: Callable[..., None] = cls.observe
    warnings.warn(
        f"{cls.__name__}.observe takes (step, rows, p_hat, n); make it observe(observation), "
        "see bots.support.observation.Observation",
        DeprecationWarning,
        stacklevel=3,
    )

    def observe(self: Evidence, observation: Observation) -> None:
        rates = observation.pass_rates
        old(self, observation.wave, observation.rows, rates, observation.rollouts)

    return observe
