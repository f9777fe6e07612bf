"""Belief and prior `auto`, the defaults: the state-space belief where nobody measured the pool and its columns tell
tasks apart; where reference pass rates are known, the Beta update with a prior from them."""

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, AnchorPrior, TaskPool
from bots.config.selection import SelectionConfig
from bots.config.tree import AS_FILE, parse_config
from bots.settings import MANY_CELLS

SIZE = 60
LEVELS = pa.array([k % 6 for k in range(SIZE)])
RATES = pa.array([k / SIZE for k in range(SIZE)])
NONE = pa.nulls(SIZE, pa.float64())
VECTORS = pa.FixedSizeListArray.from_arrays(pa.array(np.random.default_rng(0).normal(size=SIZE * 4)), 4)
IDS = pa.array([str(k) for k in range(SIZE)])


def pool(**columns):
    table = pa.table({"id": IDS, **columns})
    measured = ("weak", "strong") if "weak" in columns else (None, None)
    return TaskPool.from_arrow(table, *measured)


POOLS = [
    ("levels", pool(level=LEVELS), "state_space"),
    ("embeddings", pool(embedding=VECTORS), "state_space"),
    ("levels, rates that nobody measured", pool(level=LEVELS, weak=NONE, strong=NONE), "state_space"),
    ("nothing", pool(), "beta"),
    ("levels that nobody knows", pool(level=pa.nulls(SIZE, pa.int64())), "beta"),
    ("reference pass rates", pool(level=LEVELS, weak=RATES, strong=RATES), "beta"),
]


@pytest.mark.parametrize(("tasks", "belief"), [p[1:] for p in POOLS], ids=[p[0] for p in POOLS])
@pytest.mark.filterwarnings("ignore:the pool has neither anchors nor levels")
def test_the_pool_decides(tasks, belief):
    settings = BOTS(tasks).settings
    assert settings == BOTS(tasks, belief="auto").settings
    assert settings["belief"] == belief
    spread = belief == "state_space" and tasks.has_levels
    assert settings["belief_options"] == (MANY_CELLS if spread else {})
    assert SelectionConfig().on(tasks).belief == belief
    measured = tasks.anchored > 0
    assert settings["prior"] == ({"strength": 8, "capability": 0.5} if measured else [1, 1])
    assert SelectionConfig().on(tasks).prior == (AnchorPrior(8) if measured else (1, 1))


@pytest.mark.parametrize(
    "given",
    [
        {"lam": 0.1},
        {"rho": 0.0},
        {"evidence": "online"},
        {"adaptor": None},
        {"forgetting": "observation"},
        {"selector": "random"},
        {"selector": "mopps"},
    ],
    ids=str,
)
def test_a_setting_of_the_beta_update_means_that_update(given):
    tasks = pool(level=LEVELS)
    expected = BOTS(tasks, **given, rollouts=8).settings
    assert expected["belief"] == "beta"
    assert BOTS(tasks, **given, belief="auto", rollouts=8).settings == expected
    config = parse_config(SelectionConfig, {**given, "belief": "auto"}, "selection")
    assert config.on(tasks).belief == "beta"
    assert BOTS(tasks, **config.settings(8, 0)).settings == expected
    assert BOTS(tasks, **config.on(tasks).settings(8, 0)).settings == expected


@pytest.mark.parametrize(
    "given",
    [
        {"lam": 0.1},
        {"rho": 0.0},
        {"evidence": "interpolation"},
        {"evidence_options": {"gamma": 0.5}},
        {"adaptor": "predictive"},
        {"forgetting": "observation"},
        {"selector": "greedy"},
        {"selector": "mopps"},
        {"belief": "state_space"},
        {"prior": (1, 1)},
    ],
    ids=str,
)
def test_with_a_setting_of_the_update_or_another_method_the_prior_is_the_paper_s(given):
    tasks = POOLS[-1][1]
    expected = BOTS(tasks, **given, rollouts=8).settings
    assert expected["prior"] == [1, 1]
    config = parse_config(SelectionConfig, given, "selection")
    assert config.on(tasks).prior == (1, 1)
    assert BOTS(tasks, **config.settings(8, 0)).settings == expected
    assert BOTS(tasks, **config.on(tasks).settings(8, 0)).settings == expected


@pytest.mark.parametrize("given", [{}, {"belief": "beta"}, {"p_star": 0.4, "cooldown": 3}], ids=str)
def test_settings_that_are_not_the_update_s_leave_the_prior(given):
    tasks = POOLS[-1][1]
    expected = BOTS(tasks, **given, rollouts=8).settings
    assert expected["prior"]["strength"] == 8
    config = parse_config(SelectionConfig, given, "selection")
    for settings in (config.settings(8, 0), config.on(tasks).settings(8, 0)):
        assert BOTS(tasks, **settings).settings == expected


def test_tasks_that_nobody_measured_begin_uniform_beside_measured_ones():
    half = pa.array([k / SIZE if k % 2 else None for k in range(SIZE)])
    bots = BOTS(pool(level=LEVELS, weak=half, strong=half), rollouts=8)
    assert set(bots.alpha[::2]) == set(bots.beta[::2]) == {1.0}
    assert np.allclose(bots.alpha[1::2], 1 + 8 * np.arange(1, SIZE, 2) / SIZE)
    assert np.allclose(bots.alpha[1::2] + bots.beta[1::2], 10)


def test_a_configuration_that_names_belief_beta_is_read_back_with_its_prior():
    tasks = POOLS[-1][1]
    config = SelectionConfig(belief="beta")
    written = config.model_dump(mode="json", context=AS_FILE)
    again = parse_config(SelectionConfig, written, "selection")
    assert again.on(tasks) == config.on(tasks)
    assert again.on(tasks).prior == AnchorPrior(8)


def test_the_resolved_prior_is_accepted_again():
    """Also as YAML has it, in the settings of an adapter."""
    tasks = POOLS[-1][1]
    for prior in ({"strength": 8}, AnchorPrior(8), BOTS(tasks).settings["prior"]):
        assert BOTS(tasks, prior=prior).settings["prior"] == BOTS(tasks).settings["prior"]
    with pytest.raises(
        ValueError, match=r"prior has strenght=8; the anchor prior has strength and capability"
    ):
        BOTS(tasks, prior={"strenght": 8})


def test_a_pool_that_lost_its_reference_pass_rates_is_refused_and_nothing_is_lost():
    tasks = POOLS[-1][1]
    bots = BOTS(tasks, rollouts=8)
    rows = bots.select(8)
    bots.observe(rows, np.ones((8, 4)))
    before = bots.alpha.copy()
    with pytest.raises(ValueError, match="of which the larger pool has no columns; name its weak and strong"):
        bots.grow(TaskPool.from_arrow(tasks.table))
    assert np.array_equal(bots.alpha, before)


def test_a_pool_that_grows_has_the_prior_for_the_new_tasks_too():
    tasks = POOLS[-1][1]
    first = TaskPool.from_arrow(tasks.table.slice(0, 40), "weak", "strong")
    bots = BOTS(first, rollouts=8)
    bots.grow(tasks)
    assert np.allclose(bots.alpha, 1 + 8 * np.arange(SIZE) / SIZE)


@pytest.mark.parametrize("tasks", [pool(level=LEVELS), pool(level=LEVELS, weak=RATES, strong=RATES)])
def test_what_a_run_writes_down_means_the_same_later(tasks):
    config = SelectionConfig(cooldown=3, belief="auto").on(tasks)
    again = parse_config(SelectionConfig, config.model_dump(mode="json"), "selection")
    assert again == config == again.on(pool())
    assert (
        BOTS(tasks, **again.settings(8, 0)).settings
        == BOTS(tasks, cooldown=3, belief="auto", rollouts=8).settings
    )


def test_options_need_a_belief_by_name():
    with pytest.raises(ValueError, match="belief 'auto' takes none: leave them out, or name another belief"):
        parse_config(SelectionConfig, {"belief": "auto", "belief_options": {"crowding": 1}}, "selection")
    with pytest.raises(ValueError, match="belief 'beta' takes none"):
        BOTS(pool(level=LEVELS), belief="beta", belief_options={"crowding": 1})


def test_a_snapshot_keeps_its_belief(tmp_path):
    tasks = pool(level=LEVELS)
    bots = BOTS(tasks, belief="auto", rollouts=4)
    rows = bots.select(8)
    bots.observe(rows, np.ones((8, 4)))
    bots.save(tmp_path / "beliefs.arrow")
    again = BOTS.load(tmp_path / "beliefs.arrow", tasks)
    assert again.settings == bots.settings
    assert np.array_equal(again.select(8), bots.select(8))
