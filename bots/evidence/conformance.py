"""Checks that every evidence plug-in must pass. Its author runs them in a test file:

    import pytest
    from bots.evidence.conformance import CHECKS
    from mine import MyEvidence

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_evidence(check):
        check(lambda pool: MyEvidence(pool, my_parameter=3))

A factory takes a pool and returns a fresh plug-in. The pools have the columns domain (3), level (integer),
weak and strong (with unknown, equal and reversed anchors among them) and embedding (8 floats, some null).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bots.evidence.base import Evidence
from bots.pool import TaskPool
from bots.pool.example import example_pool
from bots.support.arrays import Float32, Rows
from bots.support.observation import Observation

Factory = Callable[[TaskPool], Evidence]


def _batch(evidence: Evidence, wave: int, rng: np.random.Generator, size: int = 24) -> None:
    rows = rng.choice(len(evidence.pool), size, replace=False).astype(np.int64)
    n = rng.integers(1, 17, size).astype(np.float64)
    evidence.observe(Observation.of_rates(wave, rows, np.round(rng.random(size) * n) / n, n))


def _trained(make: Factory, pool: TaskPool, steps: int = 10) -> Evidence:
    evidence, rng = make(pool), np.random.default_rng(1)
    for step in range(steps):
        _batch(evidence, step, rng)
    return evidence


def _all(evidence: Evidence, block: int | None = None) -> Float32:
    size = len(evidence.pool)
    out = np.full(size, 7, np.float32)
    for start in range(0, size, block or size):
        stop = min(size, start + (block or size))
        evidence.predict(start, stop, out[start:stop])
    return out


def _require_rates(p: Float32, when: str) -> None:
    bad = ~(np.isnan(p) | ((p >= 0) & (p <= 1)))
    if bad.any():
        raise AssertionError(f"{when}: p̃ is {p[bad][0]} in row {np.argmax(bad)}; it must be in [0, 1] or NaN")


def _require_same(a: npt.ArrayLike, b: npt.ArrayLike, what: str, tolerance: float = 0.0) -> None:
    if not np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True):
        worst = np.nanmax(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)))
        raise AssertionError(f"{what}: differs by {worst}")


def _require_state(evidence: Evidence, when: str) -> None:
    for name, value in evidence.state_dict().items():
        numbers = np.asarray(value) if isinstance(value, np.ndarray | float) else np.zeros(1)
        if numbers.dtype.kind == "f" and np.isnan(numbers).any():
            raise AssertionError(f"{when}: the state {name!r} has NaN")


def check_predicts_rates(make: Factory) -> None:
    """Every element of `out` is written, with a rate or NaN, before and after observing."""
    pool = example_pool()
    _require_rates(_all(make(pool)), "before any batch")
    evidence = _trained(make, pool)
    _require_rates(_all(evidence), "after ten batches")
    _require_state(evidence, "after ten batches")


def check_blocks_agree(make: Factory) -> None:
    """A row's prediction depends neither on the block it is in nor on the function called."""
    evidence = _trained(make, example_pool())
    whole = _all(evidence)
    _require_same(whole, _all(evidence, 37), "blocks of 37 against the whole", 1e-6)
    rows = np.array([299, 0, 17, 17, 150], np.int64)
    _require_same(whole[rows], evidence.predict_rows(rows), "predict_rows against predict", 1e-6)


def check_predict_changes_nothing(make: Factory) -> None:
    """Predicting twice gives the same values, and does not change what comes later."""
    pool = example_pool()
    asked, left = _trained(make, pool), _trained(make, pool)
    _require_same(_all(asked), _all(asked), "the second prediction")
    for evidence in (asked, left):
        _batch(evidence, 10, np.random.default_rng(2))
    _require_same(_all(asked), _all(left), "after predicting and one more batch")


def check_state_restores_exactly(make: Factory) -> None:
    """A plug-in that loads another's state continues bit for bit like it, and shares no memory with it."""
    pool = example_pool()
    original = _trained(make, pool)
    state = original.state_dict()
    kept = {name: np.copy(value) if isinstance(value, np.ndarray) else value for name, value in state.items()}
    expected = _all(original)
    for step in range(10, 15):
        _batch(original, step, np.random.default_rng(step))
    for name, value in kept.items():
        if isinstance(value, np.ndarray):
            _require_same(state[name], value, f"state {name!r} after more batches")
    restored = make(pool)
    restored.load_state_dict(state)
    _require_same(_all(restored), expected, "right after loading")
    for step in range(10, 15):
        _batch(restored, step, np.random.default_rng(step))
    _require_same(_all(restored), _all(original), "five batches after loading")


def check_hard_batches(make: Factory) -> None:
    """Batches of unknown, equal or reversed anchors, of one task, all right or all wrong, break nothing."""
    pool = example_pool()
    evidence, ordinary = make(pool), _trained(make, pool)
    rows: Rows = np.arange(len(pool), dtype=np.int64)
    unknown = rows[np.isnan(pool.weak + pool.strong)]
    equal = rows[pool.weak == pool.strong]
    reverse = rows[pool.weak > pool.strong]
    for candidate in (evidence, ordinary):
        for wave, batch in enumerate((unknown, equal, reverse, rows[:1], rows[2:3], rows[3:4], rows)):
            for p_hat in (0.0, 1.0):
                candidate.observe(Observation.of_rates(20 + wave, batch, p_hat, 1))
                _require_state(candidate, f"after batch {wave} of hard ones")
                _require_rates(_all(candidate), f"after batch {wave} of hard ones")


def check_order_within_a_batch(make: Factory) -> None:
    """The order of the tasks in a batch does not matter."""
    pool, rng = example_pool(), np.random.default_rng(3)
    rows, p_hat = rng.choice(300, 40, replace=False).astype(np.int64), rng.random(40)
    n = rng.integers(1, 17, 40).astype(np.float64)
    forward, backward = make(pool), make(pool)
    forward.observe(Observation.of_rates(0, rows, p_hat, n))
    backward.observe(Observation.of_rates(0, rows[::-1].copy(), p_hat[::-1], n[::-1]))
    _require_same(_all(forward), _all(backward), "the batch reversed", 1e-4)


def check_late_batches(make: Factory) -> None:
    """Batches that come late or skip waves break nothing."""
    evidence, rng = make(example_pool()), np.random.default_rng(4)
    for step in (5, 3, 3, 400, 4, 10_000, 0):
        _batch(evidence, step, rng)
        _require_state(evidence, f"after a batch of step {step}")
        _require_rates(_all(evidence), f"after a batch of step {step}")


def check_follows_the_evidence(make: Factory) -> None:
    """Thirty batches that went well leave predictions no lower than thirty that went badly."""
    pool = example_pool()
    means = []
    for p_hat in (0.1, 0.9):
        evidence, rng = make(pool), np.random.default_rng(5)
        for wave in range(30):
            rows = rng.choice(300, 24, replace=False).astype(np.int64)
            evidence.observe(Observation.of_rates(wave, rows, p_hat, 8))
        predicted = _all(evidence)
        means.append(float(np.mean(predicted[~np.isnan(predicted)])) if (~np.isnan(predicted)).any() else 0.0)
    if means[1] < means[0]:
        raise AssertionError(f"mean p̃ is {means[0]} after pass rates of 0.1, but {means[1]} after 0.9")


def check_growing(make: Factory) -> None:
    """When the pool grows old rows keep their predictions, and the state fits one made with the new pool."""
    _grow(make, example_pool(300), example_pool(420))


def check_growing_by_domains(make: Factory) -> None:
    """The same when the pool had one domain and gets two more."""
    table = example_pool(900).table.drop(["id"])
    math = table.filter(pc.equal(table["domain"], "math"))
    more = pa.concat_tables([math, table.filter(pc.not_equal(table["domain"], "math")).slice(0, 120)])
    _grow(make, *(TaskPool.from_arrow(one, weak="weak", strong="strong") for one in (math, more)))


def _grow(make: Factory, small: TaskPool, large: TaskPool) -> None:
    evidence = _trained(make, small)
    before = _all(evidence)
    evidence.grow(large)
    after = _all(evidence)
    _require_rates(after, "after growing")
    _require_same(after[: len(small)], before, "old rows after growing", 0.05)
    _batch(evidence, 10, np.random.default_rng(6))
    fresh = make(large)
    fresh.load_state_dict(evidence.state_dict())
    _require_same(_all(fresh), _all(evidence), "a fresh plug-in with the grown one's state")


def check_pool_untouched(make: Factory) -> None:
    """The plug-in writes nothing into the pool."""
    pool = example_pool()
    weak, strong, fingerprint = pool.weak.copy(), pool.strong.copy(), pool.fingerprint
    _all(_trained(make, pool))
    _require_same(pool.weak, weak, "weak anchors")
    _require_same(pool.strong, strong, "strong anchors")
    if pool.fingerprint != fingerprint:
        raise AssertionError("the pool's fingerprint changed")


CHECKS: tuple[Callable[[Factory], None], ...] = (
    check_predicts_rates,
    check_blocks_agree,
    check_predict_changes_nothing,
    check_state_restores_exactly,
    check_hard_batches,
    check_order_within_a_batch,
    check_late_batches,
    check_follows_the_evidence,
    check_growing,
    check_growing_by_domains,
    check_pool_untouched,
)
