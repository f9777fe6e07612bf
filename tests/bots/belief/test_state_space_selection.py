"""Selections from the state-space belief: the compiled pass against a plain one over all tasks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, TaskPool
from bots.belief.state_space import scoring
from bots.belief.state_space.tasks import FADE


def plain(of, scores):
    """Row numbers, best first by each draw, none twice: every task scored by itself, as the page says."""
    chosen: list[int] = []
    cell = of["cell"][of["stratum"]]
    for draw, wanted in enumerate(np.diff(np.concatenate([[0], of["need"]]))):
        for _ in range(wanted):
            now = discounted(of, scores[draw], cell, chosen)
            now[chosen] = np.inf
            chosen.append(int(now.argmin()))
    return chosen


def discounted(of, scores, cell, chosen):
    """Scores after these rows have been chosen."""
    beside = np.bincount(cell[chosen], minlength=cell.max() + 1)[cell]
    return scores * (of["own_share"] + (1 - of["own_share"]) / (1 + of["crowding"] * beside))


def all_scores(of, tasks, p_star, by_mean):
    """Loss of every task under every draw, (D, K); inf where it must not be selected."""
    stratum, size = tasks.stratum, len(tasks.stratum)
    age = np.maximum(of["clock"] - of["last_step"], 0)
    seen = np.zeros(size, bool)
    seen[tasks.asked_rows()] = True
    share = np.where(seen, tasks.keep**age, 0.0)
    mean, signal = share * tasks.own, np.where(seen, tasks.trained * FADE**age, 0.0)
    variance = share**2 * tasks.own_variance + (1 - share**2) * tasks.residual
    cell = of["cell"][stratum]
    kappa = 1 / np.sqrt(1 + np.pi * (variance + of["extra"][stratum]) / 8)
    domain = np.minimum(of["domain"], len(of["of_traits"]) - 1)[stratum]
    scores = []
    for d in range(len(of["need"])):
        away = of["of_cell"][cell, d]
        away = away + (of["traits"][stratum] * of["of_traits"][domain, :, d]).sum(axis=1)
        logit = of["expected"][stratum] + of["share"][cell] * away + mean + of["of_trained"][d] * signal
        q = 1 / (1 + np.exp(-kappa * logit))
        if by_mean:
            score = np.abs(q - p_star)
        else:
            most = max(p_star, 1 - p_star) ** 2
            score = of["worth"][cell, d] * ((q - p_star) ** 2 + (1 - kappa) * q * (1 - q) - most)
        scores.append(np.where((of["blocked"] > 0) | ~of["inside"][stratum], np.inf, score))
    return np.array(scores)


@pytest.mark.parametrize("p_star", [0.5, 0.2])
@pytest.mark.parametrize(
    ("draw", "options", "shares"),
    [
        (True, {}, None),
        (True, {"gain": True, "draws": 5}, None),
        (True, {"crowding": 0.25}, None),
        (True, {"crowding": 3, "gain": True}, {"b": 2, "a": 1}),
        (True, {"crowding": 1, "own_share": 0.5}, None),
        (True, {"crowding": 8, "own_share": 0.2, "draws": 3}, {"b": 2, "a": 1}),
        (True, {}, {"b": 2, "a": 1}),
        (False, {}, None),
    ],
)
def test_the_batch_is_that_of_scoring_every_task(monkeypatch, draw, options, shares, p_star):
    """Seven steps on 3,000 tasks with anchors. A free task stands for all of its stratum, which have its score."""
    rng = np.random.default_rng(0)
    size = 3000
    hidden = rng.normal(-1, 2, size)
    rates = 1 / (1 + np.exp(-hidden))
    table = pa.table(
        {
            "domain": [("a", "b", "c")[d] for d in rng.integers(0, 3, size)],
            "level": rng.integers(1, 5, size),
            "weak": np.round(8 * rates * 0.6) / 8,
            "strong": np.round(8 * (0.3 + 0.7 * rates)) / 8,
        }
    )
    pool = TaskPool.from_arrow(table, "weak", "strong")
    settings = {"belief": "state_space", "belief_options": options, "domain_shares": shares, "p_star": p_star}
    bots = BOTS(pool, rollouts=8, selector="bots" if draw else "greedy", cooldown=2, **settings)
    calls: list[dict] = []
    names = list(scoring.best.py_func.__code__.co_varnames[: scoring.best.py_func.__code__.co_argcount])
    compiled = scoring.best

    def watched(*arguments):
        of = dict(zip(names, arguments, strict=True))
        calls.append({**of, "blocked": of["blocked"].copy(), "free": of["free"].copy()})
        compiled(*arguments)

    monkeypatch.setattr(scoring, "best", watched)
    tasks = bots._parts.beliefs.tasks
    for step in range(7):
        calls.clear()
        rows = bots.select(60, step=step)
        start = 0
        for of in calls:
            scores = all_scores(of, tasks, p_star, not draw)
            expected = plain(of, scores)
            found = rows[start : start + len(expected)]
            ends = np.concatenate([[0], of["need"]])
            cell = of["cell"][of["stratum"]]
            for d, (low, high) in enumerate(pairwise(ends)):
                for i in range(low, high):
                    # Tasks of one stratum have one score: compare scores, not rows.
                    score = discounted(of, scores[d], cell, found[:i])[found[i]]
                    best = discounted(of, scores[d], cell, expected[:i])[expected[i]]
                    assert score == pytest.approx(best, abs=1e-9)
            start += len(expected)
        assert start == 60
        bots.observe(rows, (rng.random((60, 8)) < rates[rows][:, None]).astype(float), step=step)


def test_equal_tasks_come_equally_often():
    """Before any evidence the means of all cells are the same: the greedy choice is among all of them alike."""
    level = np.repeat(np.arange(40), 5)
    counts = np.zeros(40)
    for seed in range(150):
        pool = TaskPool.from_arrow(pa.table({"level": level}))
        bots = BOTS(pool, selector="greedy", belief="state_space", seed=seed)
        rows = bots.select(5)
        counts[level[rows]] += 1
        assert len(set(level[rows])) == 1, "tasks of one stratum come together"
    # 150 choices among 40 levels: the 99.9 % quantile of χ² with 39 degrees of freedom is 72.1.
    assert ((counts - 150 / 40) ** 2 / (150 / 40)).sum() < 72.1


def test_variety_takes_no_task_worth_less_than_its_own_share_of_another():
    """One level of six has all there is to learn: with `own_share` ½ the batch keeps to it, without it does not."""
    rng = np.random.default_rng(0)
    rates = np.array([0.97, 0.97, 0.5, 0.02, 0.02, 0.02])
    level = np.repeat(np.arange(6), 300)
    pool = TaskPool.from_arrow(pa.table({"level": level}))
    shares = {}
    for own_share in (0.0, 0.5):
        options = {"crowding": 1, "own_share": own_share}
        settings = {"belief": "state_space", "belief_options": options, "cooldown": 0}
        bots = BOTS(pool, rollouts=8, seed=0, **settings)
        for step in range(20):
            rows = rng.choice(len(pool), 30, replace=False)
            bots.observe(rows, rng.random((30, 8)) < rates[level[rows], None], step=step)
        shares[own_share] = np.mean(level[bots.select(32)] == 2)
    assert shares[0.0] < 0.7 < 0.95 < shares[0.5]
