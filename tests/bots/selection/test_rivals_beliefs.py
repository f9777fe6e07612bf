"""Rivals that read the beliefs, against examples worked by hand from their papers' equations."""

from math import exp, log

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, TaskPool


def plain_pool(tasks, **columns):
    return TaskPool(pa.table({"x": np.arange(tasks), **columns}))


def group(right, n=8):
    return [1.0] * right + [0.0] * (n - right)


# --- MoPPS


def test_mopps_retention_keeps_half_of_what_a_task_showed_before():
    """α ← ½α + ½α₀ + s for the tasks of the batch: 1 → ½ + ½ + 6 = 7 → 3.5 + .5 + 2 = 6."""
    bots = BOTS(plain_pool(5), selector="mopps_retention")
    assert (bots.settings["forgetting"], bots.settings["lam"], bots.settings["evidence"]) == (
        "observation",
        0.5,
        "none",
    )
    bots.observe([2], [group(6)], step=0)
    bots.observe([0], [group(0)], step=1)
    bots.observe([2], [group(2)], step=2)
    assert bots.alpha.tolist() == [1, 1, 6, 1, 1]
    assert bots.beta.tolist() == [9, 1, 8, 1, 1]  # (1 → 3 → 8) and (1 → 9)


def test_mopps_selects_the_nearest_draws_among_its_candidates():
    alpha, beta = np.full(200, 1e6), np.full(200, 9e6)  # θ = .1
    alpha[50:60] = 9e6  # θ = .5
    options = {"prior": (alpha, beta), "selector": "mopps_retention", "rollouts": 8}
    whole = BOTS(plain_pool(200), selector_options={"candidates": None}, **options)
    assert sorted(whole.select(10).tolist()) == list(range(50, 60))
    few = [BOTS(plain_pool(200), selector_options={"candidates": 2}, seed=s, **options) for s in range(200)]
    hits = [np.isin(bots.select(10), np.arange(50, 60)).sum() for bots in few]
    assert np.mean(hits) == pytest.approx(1, abs=0.35)  # 20 of 200 tasks are candidates: one of the ten


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"forgetting": "step"},
            "selector 'mopps_retention' is defined by forgetting='observation', but 'step'",
        ),
        ({"rho": 0.2}, "selector 'mopps_retention' is defined by rho=0.0"),
        ({"belief": "state_space"}, "selector 'mopps_retention' is defined by λ and ρ of belief 'beta'"),
        ({"selector_options": {"candidates": 0}}, "candidates is 0; it must be a whole number of at least 1"),
    ],
)
def test_mopps_retention_refuses(settings, words):
    with pytest.raises(ValueError, match=words):
        BOTS(plain_pool(4), selector="mopps_retention", **settings)


# --- InSight


def test_insight_scores_by_information_and_difficulty():
    """One rollout, Beta(1, 1): H = 0 before; Beta(2, 1) after either result has ∫ -2x·ln 2x dx = ½ - ln 2."""
    bots = BOTS(plain_pool(3), selector="insight")
    insight = bots._parts.selector
    uniform = insight.scores(np.ones(1), np.ones(1), 1)
    assert uniform[0] == pytest.approx(0.25 * exp(-3 * 0.2**2) * (log(2) - 0.5), rel=1e-9)
    # Beta(2, 1), one rollout: right with 2/3 to Beta(3, 1), H = 2/3 - ln 3; wrong to Beta(2, 2), H = 5/3 - ln 6.
    information = (0.5 - log(2)) - 2 / 3 * (2 / 3 - log(3)) - 1 / 3 * (5 / 3 - log(6))
    weight = 2 / 9 * exp(-3 * (2 / 3 - 0.3) ** 2)
    assert insight.scores(np.full(1, 2.0), np.ones(1), 1)[0] == pytest.approx(weight * information, rel=1e-9)
    # Two rollouts, Beta(1, 1): 0, 1 or 2 right with 1/3 each; Beta(3, 1) twice and Beta(2, 2).
    information = -(2 * (2 / 3 - log(3)) + (5 / 3 - log(6))) / 3
    two = insight.scores(np.ones(1), np.ones(1), 2)[0]
    assert two == pytest.approx(0.25 * exp(-0.12) * information, rel=1e-9)


def test_insight_prefers_the_less_known_of_equal_means_and_means_near_mu():
    alpha, beta = np.array([4.0, 1.0, 0.3, 9.0]), np.array([4.0, 1.0, 0.7, 1.0])
    bots = BOTS(plain_pool(4), selector="insight", prior=(alpha, beta), rollouts=8)
    assert bots.select(4).tolist() == [2, 1, 0, 3]
    assert (bots.settings["lam"], bots.settings["rho"], bots.settings["evidence"]) == (0, 0, "none")


def test_insight_is_exact_for_sharp_beliefs_and_never_negative():
    """I → ½·ln(1 + n/(α+β)) for sharp beliefs (proposition 5.1: O(1/(α+β)))."""
    from bots.selection.information import mutual_information

    alpha, beta = np.array([3e4, 1e5, 1e-3, 1e5]), np.array([7e4, 1e5, 1e3, 1e-3])
    information = mutual_information(alpha, beta, 64)
    assert information[:2] == pytest.approx(0.5 * np.log1p(64 / (alpha + beta)[:2]), rel=1e-3)
    assert (information >= 0).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mu": 3.0}, r"mu is 3.0; it must be a pass rate in \[0, 1\]"),
        ({"eta": -1}, "eta is -1; it must be a finite"),
        ({"candidates": 2.5}, "candidates is 2.5; it must be a whole number"),
    ],
)
def test_insight_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        BOTS(plain_pool(3), selector="insight", selector_options=options)


# --- VADE


@pytest.mark.parametrize("belief", ["beta", "state_space"])
def test_vade_orders_by_the_information_gain(belief):
    """θ(1-θ)²: .081, .128, .148, .125, .096 and .009."""
    theta = np.array([0.1, 0.2, 1 / 3, 0.5, 0.6, 0.9])
    if belief == "beta":
        bots = BOTS(plain_pool(6), selector="vade", prior=(1e7 * theta, 1e7 * (1 - theta)))
        assert bots.select(6).tolist() == [2, 1, 3, 4, 0, 5]
        assert (bots.settings["lam"], bots.settings["rho"], bots.settings["evidence"]) == (0.8, 0, "none")
    else:
        bots = BOTS(plain_pool(60), selector="vade", belief="state_space", seed=1)
        for step in range(12):
            bots.observe(np.arange(60), [group(8, 24)] * 30 + [group(24, 24)] * 30, step=step)
        assert (bots.select(20, step=12) < 30).mean() > 0.9


def test_vade_forgets_selected_tasks_as_in_its_figure():
    """Counts of 2.7 and 5.3 become 4.54 and 5.06 after four of eight, as there."""
    bots = BOTS(plain_pool(3), selector="vade")
    bots.observe([0, 1, 2], [[0.9] * 3 + [0] * 5, [0.1] + [0] * 7, [0.1] + [0] * 7], step=0)
    bots.observe([0, 1], [group(4, 8), group(1, 8)], step=1)
    counts = np.array([bots.alpha, bots.beta]) - 1
    assert counts[:, 0] == pytest.approx([4.54, 5.06])
    assert counts[:, 1] == pytest.approx([0.2 * 0.1 + 1, 0.2 * 7.9 + 7])
    assert counts[:, 2] == pytest.approx([0.1, 7.9]), "not selected"


@pytest.mark.parametrize(
    ("given", "lam", "forgetting"),
    [({}, 0.8, "observation"), ({"lam": 0.5}, 0.5, "observation"), ({"forgetting": "observation"}, 0.8, "observation"),
     ({"forgetting": "step"}, 0.0, "step"), ({"forgetting": "step", "lam": 0.1}, 0.1, "step")],
)  # fmt: skip
def test_vade_may_forget_otherwise(given, lam, forgetting):
    settings = BOTS(plain_pool(3), selector="vade", **given).settings
    assert (settings["lam"], settings["forgetting"], settings["evidence"]) == (lam, forgetting, "none")


def test_vade_has_no_implicit_evidence():
    with pytest.raises(ValueError, match=r"selector 'vade' is defined by rho=0.0, but 0.1 was given"):
        BOTS(plain_pool(3), selector="vade", rho=0.1)


# --- CurES


def test_cures_draws_in_proportion_to_the_softmax_of_the_deviations():
    """√(.5·.5)/.1 = 5 and √(.1·.9)/.1 = 3: the first is drawn e²/(1 + e²) = .881 of the time."""
    prior = np.array([5e6, 1e6]), np.array([5e6, 9e6])
    bots = BOTS(plain_pool(2), selector="cures", prior=prior)
    drawn = [bots.select(1, step=step)[0] for step in range(3000)]
    assert np.mean(np.array(drawn) == 0) == pytest.approx(0.881, abs=0.024)  # four standard deviations


def test_cures_without_replacement_draws_every_task_before_one_twice():
    bots = BOTS(plain_pool(10), selector="cures", selector_options={"replacement": False})
    for _ in range(3):
        rows = np.concatenate([bots.select(3) for _ in range(3)])
        assert len(set(rows.tolist())) == 9
    assert bots.metrics()["selector/rounds"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0}, "temperature is 0; it must be a finite number > 0"),
        ({"replacement": "no"}, "replacement is 'no'; it must be true or false"),
    ],
)
def test_cures_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        BOTS(plain_pool(3), selector="cures", selector_options=options)
