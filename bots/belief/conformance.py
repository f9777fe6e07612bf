"""Checks that every belief model must pass. Its author runs them in a test file:

    import pytest
    from bots import BOTS
    from bots.belief.conformance import CHECKS

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_belief(check):
        check(lambda pool, **settings: BOTS(pool, belief="mine:MyBelief", **settings))

A factory takes a pool and further settings of `BOTS`, and makes one with the model under test. The pools are those of
`bots.pool.example`. The Beta update passes them too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from bots.pool import TaskPool
from bots.pool.example import example_pool
from bots.support.arrays import Float64, Rows

Factory = Callable[..., Any]
Batch = tuple[int, Rows, list[Float64]]


def _batches(tasks: int, steps: int, seed: int = 1, size: int = 24) -> list[Batch]:
    """Batches of groups of different sizes, some of them of fractional rewards."""
    rng = np.random.default_rng(seed)
    out = []
    for step in range(steps):
        rows = rng.choice(tasks, size, replace=False).astype(np.int64)
        rates = rng.random(size)
        groups = [
            rng.beta(1 + 4 * p, 5 - 4 * p, n) if row % 5 == 0 else (rng.random(n) < p).astype(np.float64)
            for row, p, n in zip(rows.tolist(), rates, rng.integers(1, 17, size), strict=True)
        ]
        out.append((step, rows, groups))
    return out


def _tell(bots: Any, batches: list[Batch]) -> None:
    for step, rows, _ in batches:
        bots.mark_selected(rows, step)
    for step, rows, groups in batches:
        bots.observe(rows, groups, step=step)


def _means(bots: Any) -> Float64:
    means: Float64 = bots.predict_mean(np.arange(len(bots)))
    return means


def _require_sound(bots: Any, when: str) -> None:
    rows = np.arange(len(bots))
    values = {
        "means": bots.predict_mean(rows),
        "deviations": bots.predict_deviation(rows),
        "alpha": bots.alpha,
        "beta": bots.beta,
        "metrics": np.array(list(bots.metrics().values())),
    }
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise AssertionError(f"{name} are not finite {when}: {value[~np.isfinite(value)][:5]}")
    if not ((values["means"] > 0) & (values["means"] < 1)).all():
        raise AssertionError(f"means are outside (0, 1) {when}")
    if not ((bots.alpha > 0) & (bots.beta > 0) & (values["deviations"] > 0)).all():
        raise AssertionError(f"alpha, beta or deviations are not positive {when}")
    worst = float(np.max(np.abs(bots.alpha / (bots.alpha + bots.beta) - values["means"])))
    if worst > 1e-6:
        raise AssertionError(f"alpha/(alpha+beta) differs from the mean by {worst} {when}")


def _require_same(found: Float64, expected: Float64, when: str, tolerance: float = 0.0) -> None:
    worst = float(np.max(np.abs(found - expected)))
    if not worst <= tolerance:
        raise AssertionError(f"means differ by {worst} {when}; at most {tolerance} is allowed")


def check_beliefs_are_sound(make: Factory) -> None:
    """Means lie inside (0, 1), deviations are positive, and nothing is ever NaN."""
    bots = make(example_pool())
    _require_sound(bots, "before any evidence")
    _tell(bots, _batches(300, 12))
    _require_sound(bots, "after twelve batches")


def check_any_order_gives_the_same_belief(make: Factory) -> None:
    """Batches that come late, in parts, out of order or twice leave what they leave in order."""
    batches = _batches(300, 9)
    expected, found = make(example_pool()), make(example_pool())
    _tell(expected, batches)
    for step, rows, _ in batches:
        found.mark_selected(rows, step)
    for place in (3, 0, 8, 1, 2, 5, 4, 7, 6):
        step, rows, groups = batches[place]
        for part in (slice(0, 7), slice(7, None)):
            found.observe(rows[part], groups[part], step=step)
        if found.observe(rows, groups, step=step):
            raise AssertionError(f"evidence of step {step} was counted twice")
    _require_same(_means(found), _means(expected), "after batches out of order", 1e-9)
    if not (found.table()["observations"].to_numpy() == expected.table()["observations"].to_numpy()).all():
        raise AssertionError("the number of observations depends on their order")


def check_order_within_a_batch(make: Factory) -> None:
    """The order of the tasks in a batch does not matter."""
    ((step, rows, groups),) = _batches(300, 1)
    forward, backward = make(example_pool()), make(example_pool())
    forward.observe(rows, groups, step=step)
    backward.observe(rows[::-1], groups[::-1], step=step)
    _require_same(_means(backward), _means(forward), "the batch reversed")


def check_snapshots_are_exact(make: Factory) -> None:
    """A loaded belief selects, predicts and takes late evidence bit for bit like the saved one."""
    pool = example_pool()
    bots = make(pool)
    batches = _batches(300, 14)
    late = batches.pop(8)
    _tell(bots, batches)
    bots.select(16, step=14)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "belief.arrow"
        bots.save(path)
        loaded = type(bots).load(path, pool)
    for step in (15, 16):
        if not (bots.select(24, step=step) == loaded.select(24, step=step)).all():
            raise AssertionError(f"the loaded belief selects other tasks at step {step}")
        for one in (bots, loaded):
            _tell(one, [(step, *_batches(300, 1, step)[0][1:])])
    _tell(bots, [late])
    _tell(loaded, [late])
    _require_same(_means(loaded), _means(bots), "after loading")
    if bots.metrics() != loaded.metrics():
        raise AssertionError("metrics differ after loading")


def check_follows_the_evidence(make: Factory) -> None:
    """Thirty good batches raise the pool's mean, thirty bad ones lower it again below where it was."""
    bots = make(example_pool())
    rng = np.random.default_rng(5)
    means = [float(_means(bots).mean())]
    for rate in (0.9, 0.1):
        for _ in range(30):
            rows = rng.choice(300, 24, replace=False)
            bots.observe(rows, (rng.random((24, 8)) < rate).astype(np.float64))
        means.append(float(_means(bots).mean()))
        _require_sound(bots, f"after pass rates of {rate}")
    if not means[1] > means[0] > means[2]:
        raise AssertionError(
            f"the mean was {means[0]}, {means[1]} after pass rates of .9 and {means[2]} after .1"
        )


def check_hard_evidence(make: Factory) -> None:
    """All right or all wrong for long, one task again and again, single rewards, the whole pool at once."""
    for reward in (0.0, 1.0):
        bots = make(example_pool())
        for step in range(60):
            rows = np.arange(24) if step % 2 else np.array([3])
            bots.observe(rows, np.full((len(rows), 1 if step % 3 else 64), reward), step=step)
        bots.observe(np.arange(300), np.full((300, 8), reward), step=100)
        _require_sound(bots, f"after nothing but {reward}")
        bots.observe(np.arange(300), np.full((300, 8), 1 - reward), step=101)
        _require_sound(bots, f"after the opposite of {reward}")


def check_selections(make: Factory) -> None:
    """Selections are distinct, free of what is excluded, and keep the domains' shares."""
    for settings in ({}, {"selector": "greedy"}, {"selector": "variance"}):
        for shares in (None, {"math": 1, "code": 2, "logic": 1}):
            bots = make(example_pool(), domain_shares=shares, cooldown=2, **settings)
            before: Rows = np.empty(0, np.int64)
            for step in range(8):
                rows = bots.select(32, step=step, exclude=before)
                if len(np.unique(rows)) != 32 or np.isin(rows, before).any():
                    raise AssertionError(f"a selection repeats rows with {settings}")
                if shares is not None and (np.bincount(bots.pool.domain_codes[rows]) != [8, 16, 8]).any():
                    raise AssertionError(f"the domains' shares are not kept with {settings}")
                rewards = np.random.default_rng(step).random((32, 4)) < 0.4
                bots.observe(rows, rewards.astype(np.float64), step=step)
                before = rows
            if len(np.unique(bots.select(280))) != 280:
                raise AssertionError("nearly the whole pool cannot be selected")


def check_retirement(make: Factory) -> None:
    """What is believed mastered after an observation rests."""
    bots = make(example_pool(), retire_above=0.8, recheck=20, cooldown=0)
    for step in range(6):
        bots.observe(np.arange(150), np.ones((150, 32)), step=step)
    if np.isin(bots.select(100, step=6), np.arange(150)).any():
        raise AssertionError("a mastered task was selected while it should rest")


def check_growing(make: Factory) -> None:
    """Old rows keep what is believed of them, also where new domains come; late evidence still counts."""
    table = example_pool(900).table.drop(["id"])
    order = np.argsort(np.array(table["domain"].to_pylist()) != "math", kind="stable")
    large = TaskPool.from_arrow(table.take(pa.array(order)), weak="weak", strong="strong")
    for small in (large.head(300), large.head(500)):
        bots = make(small)
        batches = _batches(len(small), 12)
        late = batches.pop(7)
        _tell(bots, batches)
        before = _means(bots)
        bots.grow(large)
        _require_sound(bots, "after growing")
        _require_same(_means(bots)[: len(small)], before, "after growing")
        _tell(bots, [late, *[(step + 12, rows, groups) for step, rows, groups in _batches(900, 3, 2)]])
        _require_sound(bots, "after evidence of new tasks")
        with TemporaryDirectory() as folder:
            bots.save(Path(folder) / "belief.arrow")
            loaded = type(bots).load(Path(folder) / "belief.arrow", large)
        _require_same(_means(loaded), _means(bots), "after growing and loading")


def check_priors(make: Factory) -> None:
    """A prior of low pass rates is believed to be one, whichever way it is given."""
    pool = example_pool()
    by_domain = {"math": (1.0, 9.0), "code": (9.0, 1.0), "logic": (1.0, 9.0)}
    code = np.array(pool.domains)[pool.domain_codes] == "code"
    for prior in (by_domain, (np.where(code, 9.0, 1.0), np.where(code, 1.0, 9.0))):
        means = _means(make(pool, prior=prior))
        if not (means[code].min() > 0.5 > means[~code].max()):
            raise AssertionError(f"the prior's means do not show: {means[code].min()}, {means[~code].max()}")


def check_bad_input_changes_nothing(make: Factory) -> None:
    """A refused observation leaves every belief as it was."""
    bots = make(example_pool())
    _tell(bots, _batches(300, 3))
    before = _means(bots)
    bad: list[tuple[Any, Any, int]] = [
        ([1, 2], [[1.0, np.nan], [0.0, 1.0]], 3),
        ([1, 2], [[1.0, 2.0], [0.0, 1.0]], 3),
        ([1, 300], [[1.0, 0.0], [0.0, 1.0]], 3),
        ([1], [[1.0]], -1),
    ]
    for rows, rewards, step in bad:
        try:
            bots.observe(rows, rewards, step=step)
        except ValueError:
            _require_same(_means(bots), before, f"after refused evidence {rewards}")
        else:
            raise AssertionError(f"evidence {rewards} of rows {rows} at step {step} was taken")


CHECKS: tuple[Callable[[Factory], None], ...] = (
    check_beliefs_are_sound,
    check_any_order_gives_the_same_belief,
    check_order_within_a_batch,
    check_snapshots_are_exact,
    check_follows_the_evidence,
    check_hard_evidence,
    check_selections,
    check_retirement,
    check_growing,
    check_priors,
    check_bad_input_changes_nothing,
)
