"""The state-space belief: its filter against quadrature, what it follows, what it refuses, and what it costs."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, TaskPool
from bots.belief.state_space.filter import add_noise, condition
from bots.config.train import SelectionConfig
from tests.bots.belief.state_space_pools import answers, make_pool, state_space


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_one_group_is_conditioned_on_as_quadrature_says():
    """Mean and variance of a logit with prior N(-1, 2²) after 3 of 8, split between state and residual."""
    grid = np.linspace(-15, 15, 20001)
    log_density = -((grid + 1) ** 2) / 8 + 3 * grid - 8 * np.logaddexp(0, grid)
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    mean = (density * grid).sum()
    variance = (density * (grid - mean) ** 2).sum()
    posterior = condition(
        np.array([-1.0]),
        np.array([[np.sqrt(3)]]),
        np.ones((1, 1)),
        np.zeros(1),
        np.ones(1),
        np.array([3.0]),
        np.array([8.0]),
    )
    assert posterior.mean[0] + posterior.residual[0] == pytest.approx(mean, abs=0.1)
    # Of the common move the state has three quarters, as of the prior variance.
    assert (posterior.mean[0] + 1) / posterior.residual[0] == pytest.approx(3)
    gain = 1 - variance / 4
    assert posterior.root[0, 0] ** 2 == pytest.approx(3 - 3 * 3 / 4 * gain, rel=0.03)
    assert posterior.variance[0] == pytest.approx(1 - 1 / 4 * gain, rel=0.03)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e4])
def test_the_covariance_stays_definite_whatever_the_evidence(scale):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(30, 30)) * np.sqrt(scale)
    mean = np.zeros(30)
    for _ in range(50):
        design = rng.normal(size=(40, 30)) * rng.choice([0, 1e-3, 1, 30], (40, 1))
        successes = rng.choice([0.0, 64.0], 40)
        posterior = condition(
            mean, root, design, np.zeros(40), np.full(40, 1e-6), successes, np.full(40, 64.0)
        )
        root = add_noise(posterior.root, np.full(30, 1e-12))
        assert np.isfinite(root).all()
        assert np.linalg.eigvalsh(root @ root.T).min() >= -1e-9 * scale
        assert np.isfinite(posterior.variance).all()
        assert (posterior.variance > 0).all()


def test_late_evidence_leaves_the_same_bits():
    """Twenty-four steps, of which every third comes twelve steps late and in two parts."""
    pool, rng = make_pool(), np.random.default_rng(1)
    batches = []
    for step in range(24):
        rows = np.sort(rng.choice(600, 16, replace=False))
        batches.append((step, rows, answers(rng, rng.random(16))))
    in_time, late = state_space(pool), state_space(pool)
    for step, rows, rewards in batches:
        in_time.observe(rows, rewards, step=step)
    order = sorted(batches, key=lambda batch: batch[0] + (12 if batch[0] % 3 == 0 else 0))
    for step, rows, rewards in order:
        late.observe(rows[5:], rewards[5:], step=step)
        late.observe(rows[:5], rewards[:5], step=step)
    everything = np.arange(600)
    assert (late.predict_mean(everything) == in_time.predict_mean(everything)).all()
    assert (late.alpha == in_time.alpha).all()
    assert late.table()["last_step"].equals(in_time.table()["last_step"])
    assert len(late._parts.beliefs.journal.moments) < 20, "moments are thinned"


@pytest.mark.parametrize("apart", [1, 2, 7])
def test_moments_are_thinned_whatever_numbers_the_steps_have(apart):
    """And evidence that is late is put where it belongs by going back at most twice as far."""
    bots, rng = state_space(make_pool(), history=400), np.random.default_rng(3)
    journal = bots._parts.beliefs.journal
    for step in range(3, 3 + 100 * apart, apart):
        bots.observe(rng.choice(600, 8, replace=False), answers(rng, np.full(8, 0.5)), step=step)
    kept = sorted(journal.moments)
    assert len(kept) <= 2 * np.log2(100 * apart) + 2
    for step in journal.batches:
        start = max(moment for moment in kept if moment <= step)
        assert journal.clock + 1 - start <= max(2 * (journal.clock + 1 - step), apart + 1)


def test_evidence_of_odd_steps_is_forgotten_too():
    bots, rng = state_space(make_pool(), history=16), np.random.default_rng(4)
    for step in range(1, 200, 2):
        bots.observe(rng.choice(600, 8, replace=False), answers(rng, np.full(8, 0.5)), step=step)
    assert len(bots._parts.beliefs.journal.batches) <= 16


@pytest.mark.parametrize("parts", [1, 4])
def test_a_shock_counts_once_however_its_evidence_comes(parts):
    bots, rng = state_space(make_pool()), np.random.default_rng(0)
    for step in range(12):
        rows = np.sort(rng.choice(600, 32, replace=False))
        rewards = answers(rng, np.full(32, 0.9 if step < 8 else 0.05))
        for part in np.array_split(np.arange(32), parts):
            bots.observe(rows[part], rewards[part], step=step)
    assert bots.metrics()["belief/shocks"] == 1
    late = np.setdiff1d(np.arange(600), rows)[:1]
    bots.observe(late, [[0.0] * 8], step=10)
    assert bots.metrics()["belief/shocks"] == 1


def test_the_number_of_a_step_costs_nothing():
    """Ages beyond the table of frequent ones are the same powers; a step may be a count of tokens."""
    pool, rng = make_pool(), np.random.default_rng(5)
    near, far = state_space(pool, cooldown=0), state_space(pool, cooldown=0)
    rows, rewards = np.arange(64), answers(rng, rng.random(64))
    for bots, step in ((near, 10), (far, 1_000_000_010)):
        bots.observe(rows, rewards, step=step - 10)
        bots.observe([80], [[1.0] * 8], step=step)
    assert (near.select(32) == far.select(32)).all()
    old, rng = state_space(pool, cooldown=0), np.random.default_rng(6)
    old.observe(rows, rewards, step=0)
    old.observe([80], [[1.0] * 8], step=6000)
    chosen = old.select(32)
    assert len(np.unique(chosen)) == 32


def test_a_window_forgets_moments_and_still_takes_what_it_may():
    bots, rng = state_space(make_pool(), history=8), np.random.default_rng(2)
    for step in range(60):
        bots.observe(rng.choice(600, 8, replace=False), answers(rng, np.full(8, 0.5)), step=step)
        if step > 8:
            bots.observe(rng.choice(600, 1), answers(rng, [0.5]), step=step - 7)
    journal = bots._parts.beliefs.journal
    assert min(journal.batches) >= 59 - 16
    with pytest.raises(ValueError, match="comes too late"):
        bots.observe([0], [[1.0]], step=51)


@pytest.mark.parametrize("high", [True, False])
def test_a_policy_that_jumps_is_followed_at_once(high):
    """All pass rates fall from .9 to .05 within a step, or rise as far; five steps later the belief is there."""
    bots, rng = state_space(make_pool()), np.random.default_rng(3)
    rates = (0.05, 0.9) if high else (0.9, 0.05)
    for step in range(45):
        rows = rng.choice(600, 32, replace=False)
        bots.observe(rows, answers(rng, np.full(32, rates[step >= 40])), step=step)
    assert bots.predict_mean(np.arange(600)).mean() == pytest.approx(rates[1], abs=0.12)
    assert bots.metrics()["belief/shocks"] >= 1


@pytest.mark.parametrize("kind", ["noise", "reversed", "constant"])
def test_wrong_anchors_do_no_harm(kind):
    """The error of predictions with useless reference pass rates is that without any, within 8 %."""
    rng = np.random.default_rng(4)
    pool = make_pool(2000)
    level = pool.table["level"].to_numpy()
    logit = 2 - 1.5 * level + rng.normal(0, 0.5, 2000)
    reference = {"noise": rng.random(2000), "reversed": sigmoid(-logit), "constant": np.full(2000, 0.3)}[kind]
    columns = {name: pool.table[name] for name in ("domain", "level")}
    anchored = TaskPool.from_arrow(
        pa.table({**columns, "weak": reference, "strong": reference}), "weak", "strong"
    )
    errors = []
    for one in (pool, anchored):
        bots, draws, error = state_space(one), np.random.default_rng(5), []
        for step in range(40):
            rows = draws.choice(2000, 32, replace=False)
            error.append(np.mean((bots.predict_mean(rows) - sigmoid(logit[rows])) ** 2))
            bots.observe(rows, answers(draws, sigmoid(logit[rows])), step=step)
        errors.append(np.mean(error))
    assert errors[1] < 1.08 * errors[0]
    if kind == "reversed":
        assert errors[1] < 0.9 * errors[0], "a feature of the wrong sign is as good as one of the right"


@pytest.mark.parametrize("cells", [300, 3000])
def test_thousands_of_cells_are_followed_by_a_low_rank(cells):
    rng = np.random.default_rng(7)
    tasks = 6000
    topic, domain = rng.integers(0, cells // 10, tasks), rng.integers(0, 10, tasks)
    logit = np.linspace(-3, 3, 10)[domain] + rng.normal(0, 1, cells // 10)[topic]
    table = pa.table({"domain": [f"d{d}" for d in domain], "topic": [f"t{t}" for t in topic]})
    bots = state_space(TaskPool.from_arrow(table), belief_options={"columns": ["topic"]})
    assert len(bots._parts.beliefs.states.mean) < 120
    for step in range(15):
        rows = rng.choice(tasks, 128, replace=False)
        bots.observe(rows, answers(rng, sigmoid(logit[rows])), step=step)
    seen = bots.table()["observations"].to_numpy() > 0
    known = np.corrcoef(bots.predict_mean(np.arange(tasks))[~seen], sigmoid(logit)[~seen])[0, 1]
    assert known > 0.75
    bots.select(256)


def test_a_column_of_countless_values_is_put_into_bins_or_refused():
    tasks = 70_000
    ordered = TaskPool.from_arrow(pa.table({"level": np.arange(tasks)}))
    assert len(state_space(ordered)._parts.beliefs.book.cells) <= 64
    named = TaskPool.from_arrow(pa.table({"level": [f"v{i}" for i in range(tasks)]}))
    with pytest.raises(ValueError, match="column 'level' has 70001 values"):
        state_space(named)


def test_no_column_at_all_and_cells_of_one_task():
    rng = np.random.default_rng(8)
    bots = state_space(TaskPool.from_arrow(pa.table({"x": np.arange(50)})))
    for _ in range(10):
        rows = bots.select(8)
        bots.observe(rows, answers(rng, np.where(rows < 25, 0.1, 0.9)))
    assert bots.metrics()["belief/cells"] == 1
    assert bots.predict_mean([40]) > bots.predict_mean([3])
    alone = state_space(TaskPool.from_arrow(pa.table({"level": np.arange(50)})))
    for _ in range(5):
        alone.observe(alone.select(8), np.ones((8, 4)))
    assert np.isfinite(alone.predict_mean(np.arange(50))).all()


def test_columns_and_features_are_learned():
    """A numeric feature with gaps, a boolean, a text column: they predict tasks that were never seen."""
    rng = np.random.default_rng(9)
    length, hard, topic = rng.normal(300, 80, 1000), rng.random(1000) < 0.5, rng.integers(0, 3, 1000)
    logit = -(length - 300) / 60 - 1.5 * hard + topic - 1
    table = pa.table(
        {
            "length": pa.array(length, mask=rng.random(1000) < 0.1),
            "hard": hard,
            "topic": [("a", "b", None)[t] for t in topic],
        }
    )
    options = {"columns": ["hard", "topic"], "features": ["length"]}
    bots = state_space(TaskPool.from_arrow(table), belief_options=options)
    for step in range(20):
        rows = np.arange(step * 16, step * 16 + 16)
        bots.observe(rows, answers(rng, sigmoid(logit[rows])), step=step)
    rest = np.arange(400, 1000)
    assert np.corrcoef(bots.predict_mean(rest), sigmoid(logit[rest]))[0, 1] > 0.8


REFUSED = [
    ({"belief": "kalman"}, "unknown belief 'kalman'"),
    ({"belief": "state_space", "lam": 0.1}, "lam is 0.1, a setting of belief 'beta'"),
    ({"belief": "state_space", "evidence": "online"}, "evidence is 'online', a setting"),
    ({"belief": "state_space", "adaptor": "predictive"}, "adaptor is 'predictive', a setting"),
    ({"belief": "state_space", "forgetting": "observation"}, "forgetting is 'observation', a setting"),
    ({"belief": "state_space", "selector": "mopps"}, "selector 'mopps' is defined by λ and ρ"),
    ({"belief": "beta", "belief_options": {"draws": 4}}, "belief 'beta' takes none"),
    ({"belief": "state_space", "belief_options": {"drawz": 4}}, "has no option drawz"),
    ({"belief": "state_space", "belief_options": {"draws": 0}}, "draws is 0"),
    ({"belief": "state_space", "belief_options": {"temper": float("nan")}}, "temper is nan"),
    ({"belief": "state_space", "belief_options": {"spread": 0}}, "spread is 0"),
    (
        {"belief": "state_space", "belief_options": {"crowding": -1}},
        "crowding is -1; it must be a number from 0 to 100",
    ),
    ({"belief": "state_space", "belief_options": {"crowding": True}}, "crowding is True"),
    ({"belief": "state_space", "belief_options": {"own_share": 2}}, "own_share is 2"),
    ({"belief": "state_space", "belief_options": {"columns": "level"}}, "it must be a list"),
    ({"belief": "state_space", "belief_options": {"columns": ["nope"]}}, "needs the column 'nope'"),
    ({"belief": "state_space", "belief_options": {"features": ["domain"]}}, "feature 'domain' has type"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        BOTS(make_pool(20), **settings)


def test_the_configuration_takes_a_belief():
    chosen = SelectionConfig(belief="state_space", belief_options={"draws": 2})
    assert (chosen.lam, chosen.rho, chosen.evidence, chosen.adaptor) == (0.0, 0.0, "none", None)
    bots = BOTS(make_pool(20), **chosen.settings(8, 0))
    assert bots.settings["belief"] == "state_space"
    assert bots.settings["cooldown"] == 15
    with pytest.raises(ValueError, match=r"lam is 0\.2, a setting of belief 'beta'"):
        SelectionConfig(belief="state_space", lam=0.2)
    with pytest.raises(ValueError, match="has neither"):
        bots.retune(0.2, 0.1, 0.4)
    bots.retune(0.0, 0.0, 0.4)
    assert bots.p_star == 0.4


def test_a_task_takes_at_most_forty_bytes():
    bots = state_space(make_pool(5000))
    model, rng = bots._parts.beliefs, np.random.default_rng(10)
    bots.observe(np.arange(5000), answers(rng, np.full(5000, 0.5)))
    by_task = [
        value
        for part in (model, model.tasks, model.book)
        for value in vars(part).values()
        if isinstance(value, np.ndarray) and value.shape == (5000,)
    ]
    assert sum(array.nbytes for array in {id(array): array for array in by_task}.values()) <= 40 * 5000
