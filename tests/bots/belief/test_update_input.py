"""Bad input: a ValueError that names the offender, and nothing changed."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, AnchorPrior, TaskPool
from bots.adapt import Adaptor
from bots.config.train import SelectionConfig


@pytest.fixture
def pool():
    weak = np.array([0.1, 0.2, np.nan, 0.4, 0.5, 0.0], np.float32)
    strong = np.array([0.5, 0.9, 0.8, np.nan, 0.7, 1.0], np.float32)
    columns = {"id": [f"task-{i}" for i in range(6)], "w": weak, "s": strong}
    return TaskPool.from_arrow(
        pa.table({**columns, "domain": ["math", "math", "math", "code", "code", "code"]}),
        weak="w",
        strong="s",
    )


def fingerprint(bots):
    return (
        bots.alpha.tobytes(),
        bots.beta.tobytes(),
        bots.step,
        json.dumps(bots._rng.bit_generator.state),
        repr(bots.metrics()),
        repr(bots._parts.history.waves),
    )


ONES = np.ones((2, 4))


@pytest.mark.parametrize(
    ("rows", "rewards", "words"),
    [
        ([0, 4], [[1, np.nan], [1, 0]], ["nan", "row 0", "task-0"]),
        ([0, 4], [[1, 0], [1, 1.5]], ["1.5", "row 4", "task-4"]),
        ([0, 4], [[1, 0], [1, -0.1]], ["-0.1", "row 4", "task-4"]),
        ([0, 4], np.array([[1, 0], [1, np.inf]]), ["inf", "row 4", "task-4"]),
        ([0, 6], ONES, ["rows[1]", "6", "0 to 5"]),
        ([-1, 2], ONES, ["rows[0]", "-1"]),
        ([0.5, 2.0], ONES, ["float64", "integers"]),
        ([[0, 1]], ONES, ["one-dimensional"]),
        ([0, 1, 2], ONES, ["2 groups", "3 rows"]),
        ([0, 1], [[1.0], []], ["row 1", "task-1", "at least one"]),
        ([0, 1], [[1.0], ["good"]], ["row 1", "task-1", "not numbers"]),
        ([0, 1], np.ones((2, 2, 2)), ["row 0", "(2, 2)"]),
        ([0, 1], np.ones((2, 0)), ["row 0"]),
        ([0, 1], [[1.0, 1.0], ["1", "0"]], ["row 1", "task-1", "not numbers"]),
        ([0, 1], np.array([[1.0, 0.0], [1.0, 1j]]), ["row 0", "not numbers", "complex"]),
        ([0, 1], np.ones((2, 2), "datetime64[s]"), ["row 0", "not numbers"]),
        ([0, 1], np.ma.masked_equal([[1.0, 0.0], [1.0, 0.5]], 0.5), ["row 1", "some are masked"]),
        ([0, 1], None, ["rewards is a NoneType", "2 rows"]),
        ([0, 1], 1.0, ["rewards is a float"]),
        ([], [], ["empty"]),
    ],
)
def test_bad_observations(pool, rows, rewards, words):
    bots = BOTS(pool)
    bots.observe(bots.select(2), ONES)
    before = fingerprint(bots)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        bots.observe(rows, rewards)
    for word in words:
        assert word in str(caught.value)
    assert fingerprint(bots) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((7,), ["7", "6 tasks"]),
        ((0,), ["batch is 0"]),
        ((2.0,), ["batch is 2.0"]),
        ((5, None, [0, 1]), ["5", "2 excluded"]),
        ((2, None, [9]), ["exclude[0] is 9"]),
        ((2, -3), ["step is -3"]),
        ((2, 10**12), ["step is 1000000000000", "2147483647"]),
    ],
)
def test_bad_selections(pool, arguments, words):
    bots = BOTS(pool)
    before = fingerprint(bots)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        bots.select(*arguments)
    for word in words:
        assert word in str(caught.value)
    assert fingerprint(bots) == before


def test_evidence_that_is_too_late(pool):
    bots = BOTS(pool, history=4)
    bots.observe([0], [[1.0]], 10)
    bots.observe([0], [[1.0]], 7)
    before = fingerprint(bots)
    with pytest.raises(ValueError, match=r"step 6 comes too late.* 7"):
        bots.observe([0], [[1.0]], 6)
    assert fingerprint(bots) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"p_star": 0}, "p_star is 0"),
        ({"p_star": 1}, "p_star is 1"),
        ({"p_star": np.nan}, "p_star is nan"),
        ({"lam": 1.1}, "lam is 1.1"),
        ({"rho": -0.1}, "rho is -0.1"),
        ({"lam": np.nan}, "lam is nan"),
        ({"lam": "0.1"}, "lam is '0.1'; it must be a number"),
        ({"p_star": "half"}, "p_star is 'half'"),
        ({"prior": 2.0}, "prior is 2.0"),
        ({"domain_shares": ["math"]}, r"domain_shares is \['math'\]"),
        ({"retire_above": "all"}, "retire_above is 'all'"),
        ({"rollouts": 0}, "rollouts is 0"),
        ({"prior": (0, 1)}, "alpha0 is 0"),
        ({"prior": (1, np.inf)}, "beta0 is inf"),
        ({"prior": ([1, 1], [1, 1])}, r"shape \(2,\)"),
        ({"prior": ([1, 1, 1, -1, 1, 1], [1] * 6)}, "row 3 .id task-3"),
        ({"prior": {"math": (1, 1)}}, "code"),
        ({"selector": "best"}, "unknown selector 'best'"),
        ({"evidence": "oracle"}, "unknown evidence 'oracle'"),
        ({"selector": "mopps", "lam": 0.1}, "lam=0.0"),
        ({"selector": "dots", "rho": 0.1}, "rho=1.0"),
        ({"selector_options": {"bogus": 1}}, "bogus"),
        ({"domain_shares": {"logic": 1}}, "logic"),
        ({"domain_shares": {"math": -1}}, "-1"),
        ({"domain_shares": "weights"}, "no column `weight`; it has"),
        ({"domain_shares": "sizes"}, "domain_shares is 'sizes'"),
        ({"forgetting": "never"}, "never"),
        ({"retire_above": 1.5}, "retire_above is 1.5"),
        ({"cooldown": -1}, "cooldown is -1"),
        ({"cooldown": 9, "history": 8}, "cooldown is 9 steps, but only the last 8 are remembered"),
    ],
)
def test_bad_settings(pool, arguments, words):
    with pytest.raises(ValueError, match=words):
        BOTS(pool, **arguments)


@pytest.mark.parametrize(
    ("given", "cooldown"),
    [
        ({}, 15),
        ({"adaptor": None}, 0),
        ({"rho": 0.1}, 0),
        ({"rho": 0.1, "adaptor": "predictive"}, 15),
        ({"adaptor": "predictive", "cooldown": 0}, 0),
        ({"adaptor": "predictive", "history": 4}, 4),
    ],
)
def test_self_tuning_comes_with_a_cooldown(pool, given, cooldown):
    assert BOTS(pool, **given).settings["cooldown"] == cooldown


@pytest.mark.parametrize(
    ("given", "adaptor"),
    [
        ({}, "predictive"),
        ({"p_star": 0.4}, "predictive"),
        ({"adaptor": None}, None),
        ({"lam": 0.1}, None),
        ({"rho": 0.0}, None),
        ({"forgetting": "observation"}, None),
        *(
            ({"selector": name}, None)
            for name in ("greedy", "random", "offline", "mopps", "dots", "variance")
        ),
    ],
)
def test_lam_and_rho_tune_themselves_unless_one_of_them_is_given(pool, given, adaptor):
    assert BOTS(pool, **given).settings["adaptor"] == adaptor
    assert SelectionConfig.model_validate(given).adaptor == adaptor


def test_options_of_an_adaptor_that_is_not_there_are_refused(pool):
    with pytest.raises(ValueError, match="'caution': 1}, but there is no adaptor"):
        BOTS(pool, lam=0.2, adaptor_options={"caution": 1})


def test_presets_show_in_the_settings(pool):
    shown = {name: BOTS(pool, selector=name).settings for name in ("bots", "mopps", "dots")}
    resolved = {name: (s["lam"], s["rho"], s["evidence"]) for name, s in shown.items()}
    assert resolved == {
        "bots": (0.1, 0.1, "auto"),
        "mopps": (0.0, 0.0, "none"),
        "dots": (1.0, 1.0, "auto"),
    }


def test_the_five_lines(tmp_path, pool):
    """The public library as the README shows it."""
    import pyarrow.parquet as pq

    pq.write_table(pool.table, tmp_path / "math.parquet")
    pool = TaskPool.from_parquet(tmp_path / "math.parquet", weak="w", strong="s")
    bots = BOTS(pool, p_star=0.5, lam=0.1, rho=0.1, rollouts=16, seed=0)
    rows = bots.select(4)
    assert rows.dtype == np.int64
    assert len(set(rows.tolist())) == 4
    bots.observe(rows, np.ones((4, 16)))
    table = bots.table()
    assert table["alpha"].chunk(0).buffers()[1].address == bots.alpha.__array_interface__["data"][0]
    assert table["id"].to_pylist() == pool.ids()
    assert np.isfinite(bots.alpha).all()
    with pytest.raises(ValueError, match="read-only"):
        bots.alpha[0] = 1


@pytest.mark.parametrize(("name", "value"), [("strength", -1), ("strength", np.inf), ("capability", 1.1)])
def test_an_anchor_prior_of_impossible_values_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} of the anchor prior is {value}"):
        AnchorPrior(**{name: value})


def test_anchor_prior_leans_to_the_anchors(pool):
    bots = BOTS(pool, prior=AnchorPrior(strength=4, capability=0.5))
    expected = np.array([0.3, 0.55, np.nan, np.nan, 0.6, 0.5])
    assert bots.alpha == pytest.approx(np.nan_to_num(1 + 4 * expected, nan=1), rel=1e-6)
    assert bots.beta == pytest.approx(np.nan_to_num(1 + 4 * (1 - expected), nan=1), rel=1e-6)


def test_without_a_step_evidence_finds_the_selection_that_awaits_it(pool):
    """Batch t+1 is drawn while t trains; each observation goes to its own step."""
    bots = BOTS(pool)
    first = bots.select(3)
    second = bots.select(3, exclude=first)
    bots.observe(second, np.ones((3, 2)))
    bots.observe(first, np.ones((3, 2)))
    last = bots.table()["last_step"].to_numpy()
    assert (last[first] == 0).all()
    assert (last[second] == 1).all()
    assert bots.metrics()["late"] == 3


class Wild(Adaptor):
    """Goes astray at the second step."""

    def __init__(self, pool, prior, lam, rho, p_star):
        self.lam, self.rho, self.p_star, self.steps = lam, rho, p_star, 0

    def observe(self, outcome, predict):
        self.steps += 1
        self.lam = np.nan if self.steps == 2 else 0.5

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def metrics(self):
        return {}

    def grow(self, pool, prior):
        pass


def test_an_adaptor_that_goes_astray_spoils_no_belief(pool):
    bots = BOTS(pool, adaptor=f"{__name__}:Wild")
    bots.observe([0, 1], [[1.0, 0.0], [1.0, 1.0]])
    before = bots.alpha.copy(), bots.beta.copy()
    with pytest.raises(ValueError, match="the adaptor's lam is nan"):
        bots.observe([0, 1], [[1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_array_equal((bots.alpha, bots.beta), before)


def test_retuning_takes_no_impossible_value(pool):
    for given in ({"lam": 7}, {"rho": np.nan}, {"p_star": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(given))} is"):
            BOTS(pool, lam=0.1).retune(**{"lam": 0.1, "rho": 0.1, "p_star": 0.5} | given)


def test_groups_of_equal_rewards_do_not_vary_by_rounding(pool):
    bots = BOTS(pool)
    bots.observe([0, 1], [[0.1] * 16, [0.7] * 12])
    assert bots.metrics()["batch/etr"] == 0
