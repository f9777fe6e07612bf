"""What each plug-in computes: against the paper's formula, by hand, and on data from its own model."""

import numpy as np
import pyarrow as pa
import pytest

from bots.evidence import make_evidence
from bots.evidence.auto import Auto
from bots.evidence.interpolation import Interpolation
from bots.evidence.item_response import ItemResponse
from bots.evidence.neighbours import Neighbours
from bots.evidence.online import Online
from bots.metrics import calibration
from bots.pool import TaskPool
from bots.pool.example import example_pool
from bots.support.observation import Observation


def anchored_pool(size=2000, seed=0):
    """Item-response tasks of varied discrimination; anchors at θ = 0 and 1 from 16 samples each."""
    rng = np.random.default_rng(seed)
    a, c = rng.uniform(1, 3, size), rng.normal(-1, 2, size)
    rates = [rng.binomial(16, 1 / (1 + np.exp(-(c + a * theta)))) / 16 for theta in (0, 1)]
    pool = TaskPool.from_arrow(pa.table({"w": rates[0], "s": rates[1]}), weak="w", strong="s")
    return pool, lambda theta: 1 / (1 + np.exp(-(c + a * theta)))


def all_of(evidence):
    out = np.empty(len(evidence.pool), np.float32)
    evidence.predict(0, len(out), out)
    return out


def test_interpolation_is_the_papers_where_the_gap_is_determined():
    pool, truth = anchored_pool()
    evidence, rng, smoothed = Interpolation(pool, gamma=0.8), np.random.default_rng(1), None
    w, s = pool.weak.astype(float), pool.strong.astype(float)
    for step in range(50):
        rows = rng.choice(2000, 64, replace=False)
        p_hat = rng.binomial(16, truth(step / 50)[rows]) / 16
        evidence.observe(Observation.of_rates(step, rows, p_hat, np.full(64, 16.0)))
        mu = (p_hat.mean() - w[rows].mean()) / (s[rows].mean() - w[rows].mean())
        smoothed = mu if smoothed is None else 0.8 * smoothed + 0.2 * mu
        np.testing.assert_allclose(evidence.capability, smoothed, rtol=1e-9)
    np.testing.assert_allclose(all_of(evidence), np.clip(w + smoothed * (s - w), 0, 1), atol=1e-6)


def test_interpolation_may_go_below_the_weak_anchor():
    pool = TaskPool.from_arrow(pa.table({"w": np.full(64, 0.5), "s": np.full(64, 0.9)}), "w", "s")
    evidence = Interpolation(pool)
    evidence.observe(Observation.of_rates(0, np.arange(32), np.full(32, 0.3), np.full(32, 8.0)))
    assert evidence.capability[0] == pytest.approx(-0.5, rel=1e-5)
    np.testing.assert_allclose(all_of(evidence), 0.3, rtol=1e-5)


@pytest.mark.parametrize("gap", [0.0, 1e-30, 1e-12, 1e-6, 1e-3, 0.01])
def test_nearly_equal_anchors_move_capability_by_their_information(gap):
    good, bad = np.arange(32), np.arange(32, 64)
    weak = np.full(64, 0.4)
    strong = np.where(np.arange(64) < 32, 0.8, weak + gap)
    pool = TaskPool.from_arrow(pa.table({"w": weak, "s": strong}), "w", "s")
    p_hat = np.linspace(0.2, 0.9, 32)  # far from both anchors of the bad batch
    evidence = Interpolation(pool)
    evidence.observe(Observation.of_rates(0, good, p_hat, np.full(32, 8.0)))
    before = evidence.capability[0]
    evidence.observe(Observation.of_rates(1, bad, p_hat, np.full(32, 8.0)))
    assert abs(evidence.capability[0] - before) < 0.1  # the paper's would move by 0.1·0.15/gap
    # As the very first batch it says nothing yet, and leaves the next one all the room.
    first = Interpolation(pool)
    first.observe(Observation.of_rates(0, bad, p_hat, np.full(32, 8.0)))
    if gap < 0.01:
        assert np.isnan(all_of(first)).all()
    first.observe(Observation.of_rates(1, good, p_hat, np.full(32, 8.0)))
    assert abs(first.capability[0] - before) < 0.02 + 25 * gap


def test_interpolation_by_domain():
    pool = example_pool()
    evidence = Interpolation(pool)
    rows = np.flatnonzero((pool.domain_codes == 1) & ~np.isnan(pool.weak + pool.strong))
    evidence.observe(Observation.of_rates(0, rows, pool.strong[rows].astype(float), np.full(len(rows), 8.0)))
    predicted = all_of(evidence)
    known = ~np.isnan(pool.weak + pool.strong)
    np.testing.assert_allclose(predicted[rows], pool.strong[rows], atol=1e-6)
    assert np.isnan(predicted[pool.domain_codes != 1]).all()
    assert np.isnan(predicted[~known]).all()


def test_a_late_batch_weighs_what_it_would_have_in_time():
    pool = TaskPool.from_arrow(pa.table({"w": np.zeros(96), "s": np.ones(96)}), "w", "s")
    batches = {0: (np.arange(32), 0.2), 1: (np.arange(32, 64), 0.4), 2: (np.arange(64, 96), 0.6)}
    late = Interpolation(pool)
    for step in (0, 2, 1):
        late.observe(
            Observation.of_rates(step, batches[step][0], np.full(32, batches[step][1]), np.full(32, 8.0))
        )
    after_two = 0.9 * 0.2 + 0.1 * 0.6
    assert late.capability[0] == pytest.approx(after_two + 0.1 * 0.9 * (0.4 - after_two))


def test_item_response_follows_the_ability_and_beats_linear_interpolation():
    pool, truth = anchored_pool()
    rng = np.random.default_rng(2)
    plug_ins = {"item": ItemResponse(pool), "linear": Interpolation(pool)}
    brier = {name: [] for name in plug_ins}
    for step in range(120):
        theta = 0.2 + step * 0.012  # ends well beyond the strong model
        rows = rng.choice(2000, 32, replace=False)
        p_hat = rng.binomial(16, truth(theta)[rows]) / 16
        for name, evidence in plug_ins.items():
            if step:
                brier[name].append(calibration(evidence.predict_rows(rows), p_hat).brier)
            evidence.observe(Observation.of_rates(step, rows, p_hat, np.full(32, 16.0)))
    assert np.mean(brier["item"]) < 0.9 * np.mean(brier["linear"])
    assert plug_ins["item"].ability[0] == pytest.approx(theta, abs=0.3)
    assert plug_ins["item"].discrimination.min() > 0  # shrunk away from reversed noisy anchors


def test_online_by_hand():
    table = pa.table({"domain": ["a", "a", "a", "b"], "level": pa.array([1, 1, 2, None])})
    evidence = Online(TaskPool.from_arrow(table), columns=["domain", "level"], strength=2.0, gamma=0.5)
    evidence.observe(Observation.of_rates(1, np.array([0, 3]), np.array([0.9, 0.1]), np.array([4.0, 4.0])))
    a, b = (0.9 + 2 * 0.5) / 3, (0.1 + 2 * 0.5) / 3
    expected = [(0.9 + 2 * a) / 3, (0.9 + 2 * a) / 3, a, (0.1 + 2 * b) / 3]
    np.testing.assert_allclose(all_of(evidence), expected, rtol=1e-6)
    evidence.observe(Observation.of_rates(2, np.array([2]), np.array([0.3]), np.array([4.0])))
    pool_mean = (0.5 * 1.0 + 0.3) / (0.5 * 2 + 1)
    a = (0.5 * 0.9 + 0.3 + 2 * pool_mean) / (0.5 + 1 + 2)
    np.testing.assert_allclose(all_of(evidence)[2], (0.3 + 2 * a) / 3, rtol=1e-6)


def test_neighbours_learn_a_smooth_field_without_anchors():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(1500, 6)).astype(np.float32)
    truth = 1 / (1 + np.exp(-3 * z[:, 0] / np.linalg.norm(z, axis=1) * 2))
    column = pa.FixedSizeListArray.from_arrays(pa.array(z.reshape(-1)), 6)
    pool = TaskPool.from_arrow(pa.table({"z": column}))
    for landmarks in (1500, 300):
        evidence = Neighbours(pool, column="z", landmarks=landmarks)
        for step in range(40):
            rows = rng.choice(1500, 16, replace=False)
            evidence.observe(
                Observation.of_rates(step, rows, rng.binomial(8, truth[rows]) / 8, np.full(16, 8.0))
            )
        predicted = all_of(evidence)
        assert np.corrcoef(predicted, truth)[0, 1] > 0.85
        assert np.mean((predicted - truth) ** 2) < 0.4 * np.var(truth)


def trained(make, pool, steps=6):
    evidence, rng = make(pool), np.random.default_rng(4)
    for step in range(steps):
        rows = rng.choice(len(pool), 32, replace=False)
        evidence.observe(
            Observation.of_rates(step, rows, rng.binomial(8, 0.3 + 0.4 * (rows % 2)) / 8, np.full(32, 8.0))
        )
    return evidence


def by_level(pool):
    return Online(pool, ["domain", "level"])


def test_auto_takes_for_each_task_what_the_pool_has_for_it():
    pool = example_pool()
    known = ~np.isnan(pool.weak + pool.strong)
    assert 0.8 < known.mean() < 1
    auto = all_of(trained(Auto, pool))
    assert np.array_equal(auto[known], all_of(trained(Interpolation, pool))[known])
    assert np.array_equal(auto[~known], all_of(trained(by_level, pool))[~known])
    assert not np.isnan(auto).any()

    whole = TaskPool(pool.table.filter(known), "weak", "strong")
    evidence = trained(Auto, whole)
    assert np.array_equal(all_of(evidence), all_of(trained(Interpolation, whole)))
    assert evidence.metrics() == trained(Interpolation, whole).metrics(), "nothing else is kept"

    bare = TaskPool(pool.table.drop_columns(["weak", "strong"]))
    assert np.array_equal(all_of(trained(Auto, bare)), all_of(trained(by_level, bare)))

    flat = TaskPool(pool.table.drop_columns(["level"]), "weak", "strong")
    assert np.array_equal(np.isnan(all_of(trained(Auto, flat))), ~known)
    with pytest.warns(UserWarning, match="neither anchors nor levels"):
        evidence = trained(Auto, TaskPool(bare.table.select(["domain"])))
    assert np.isnan(all_of(evidence)).all()


def test_auto_takes_up_what_comes_with_new_tasks():
    pool = example_pool()
    old = pool.table.slice(0, 100).drop_columns(["weak", "strong", "level"])
    with pytest.warns(UserWarning, match="neither anchors nor levels"):
        evidence = trained(Auto, TaskPool(old))
    assert np.isnan(all_of(evidence)).all()
    assert evidence.state_dict() == {}
    unknown = pa.nulls(100, pa.float64())
    table = old.append_column("level", pa.nulls(100, pa.int64()))
    table = table.append_column("weak", unknown).append_column("strong", unknown)
    rest = pool.table.slice(100).select(table.column_names)
    grown = TaskPool(pa.concat_tables([table, rest]), "weak", "strong")
    evidence.grow(grown)
    fresh = Auto(grown)
    rng = np.random.default_rng(2)
    for step in range(10, 20):
        rows = rng.choice(300, 64, replace=False)
        for one in (evidence, fresh):
            one.observe(Observation.of_rates(step, rows, np.full(64, 0.5), np.full(64, 8.0)))
    assert not np.isnan(all_of(evidence)).any()
    assert np.array_equal(all_of(evidence), all_of(fresh))


def test_auto_refuses_the_state_of_another_pool():
    pool = example_pool()
    state = trained(Auto, TaskPool(pool.table.drop_columns(["weak", "strong"]))).state_dict()
    with pytest.raises(
        ValueError, match="the state is of online; this pool's evidence is of interpolation, online"
    ):
        Auto(pool).load_state_dict(state)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("interpolation", {}, "needs a pool with weak and strong anchors"),
        ("item_response", {}, "needs a pool with weak and strong anchors"),
        ("neighbours", {"column": "z"}, "needs the feature column 'z'; the pool has"),
        ("neighbours", {"column": "x"}, "has type double; it must be a fixed-size list"),
        ("neighbours", {"column": "v"}, r"'v' is not finite in row 1 \(id 1\)"),
        ("online", {"columns": ["level"]}, "needs the column 'level'"),
        ("online", {"columns": ["x"]}, "groups are made of strings, integers or booleans"),
        ("online", {"columns": "domain"}, "columns is .domain.; it must be a list of names"),
        ("online", {"gamma": 1.0}, "gamma is 1.0"),
    ],
)
def test_unfit_pools_and_parameters_are_named(name, params, message):
    v = pa.array([[1.0, 2.0], [float("nan"), 1.0]], pa.list_(pa.float32(), 2))
    with pytest.raises(ValueError, match=message):
        make_evidence(name, TaskPool.from_arrow(pa.table({"x": [0.5, 0.25], "v": v})), params)
