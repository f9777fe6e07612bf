"""The rivals against examples worked by hand from their papers' equations."""

from math import exp, log, tanh

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, TaskPool
from bots.pool.example import example_pool


def plain_pool(tasks, **columns):
    return TaskPool(pa.table({"x": np.arange(tasks), **columns}))


def group(right, n=8):
    return [1.0] * right + [0.0] * (n - right)


# --- AdaRFT


def test_adarft_takes_the_nearest_difficulties_and_its_target_follows_the_reward():
    """T ← clip(T + 50·tanh(2·(R - 0.5)), 0, 100), from 0."""
    pool = plain_pool(101, difficulty=np.arange(101.0))
    bots = BOTS(pool, selector="adarft", selector_options={"difficulty": "difficulty"}, evidence="none")
    rows = bots.select(4, step=0)
    assert rows.tolist() == [0, 1, 2, 3]
    bots.observe(rows, [group(8)] * 3 + [group(4)], step=0)  # R = 28/32
    assert bots.metrics()["selector/target"] == 0  # moves when the next wave is selected
    rows = bots.select(4, step=1)
    target = 50 * tanh(0.75)  # 31.76
    assert bots.metrics()["selector/target"] == pytest.approx(target)
    assert sorted(rows.tolist()) == [30, 31, 32, 33]
    assert rows[0] == 32
    bots.select(4, step=1)  # a refill moves nothing
    bots.observe(rows[:2], [group(0)] * 2, step=1)  # in two parts: R = 2/32
    bots.observe(rows[2:], [group(1), group(1)], step=1)
    bots.select(4, step=2)
    assert bots.metrics()["selector/target"] == 0  # 31.76 - 50·tanh(0.875) = -3.5 is below the lowest
    for step in range(2, 6):
        bots.observe(bots.select(4, step=step), [group(8)] * 4, step=step)
    assert bots.select(4, step=6).tolist() == [100, 99, 98, 97]  # four steps of 38.08 reach the highest


def test_adarft_takes_difficulties_from_the_anchors_and_unknown_ones_last():
    weak, strong = [0.9, 0.1, None, 0.4], [0.9, 0.5, None, None]
    pool = TaskPool(pa.table({"w": weak, "s": strong}), weak="w", strong="s")
    bots = BOTS(pool, selector="adarft")  # difficulties 10, 70, unknown, 60
    assert bots.select(4).tolist() == [0, 3, 1, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs the tasks' difficulties: name the pool's weak and strong"),
        ({"difficulty": "hard"}, "difficulty is 'hard', but the pool has the columns x"),
        ({"difficulty": "name"}, "'name' of type string; difficulties are numbers"),
        ({"difficulty": "none"}, "'none', which has no value"),
        ({"difficulty": "x", "start": 101.0}, "start is 101.0, lowest 0.0 and highest 100.0"),
        ({"difficulty": "x", "eta": 0}, "eta is 0; it must be a finite number > 0"),
        ({"difficulty": "x", "alpha": float("inf")}, "alpha is inf; it must be a finite"),
    ],
)
def test_adarft_refuses(options, words):
    pool = plain_pool(3, name=["a", "b", "c"], none=pa.array([None] * 3, pa.float64()))
    with pytest.raises(ValueError, match=words):
        BOTS(pool, selector="adarft", selector_options=options)


# --- GRESO


def test_greso_skips_by_the_groups_without_signal():
    """1 - p^z: two groups all right, p_easy = ½, skip a task in ¾ of the epochs; one all wrong, in ½."""
    bots = BOTS(plain_pool(40), selector="greso", selector_options={"step": 0.0}, evidence="none")
    wrong, right, mixed = np.arange(10), np.arange(10, 20), np.arange(20, 40)
    both = np.concatenate([wrong, right])
    bots.observe(both, [group(8)] * 10 + [group(8)] * 10, step=0)
    bots.observe(both, [group(0)] * 10 + [group(8)] * 10, step=1)  # all wrong: the count starts over
    bots.observe(mixed, [group(3)] * 20, step=2)
    counts = np.zeros(40)
    step = 3
    while bots.metrics().get("selector/epoch", 0) < 60:
        counts[bots.select(10, step=step)] += 1
        step += 1
    assert counts[mixed] == pytest.approx(60, abs=1)
    assert counts[wrong].mean() == pytest.approx(30, abs=6)  # 600 coins: a standard deviation is 1.2 of 30
    assert counts[right].mean() == pytest.approx(15, abs=5)
    bots.observe(right[:1], [group(5)], step=step)
    assert bots._parts.selector.streak[right[:2]].tolist() == [0, 2]


def test_greso_moves_p_towards_the_share_without_signal():
    """Targets ¼/3 for all right and ¼·⅔ for all wrong; moves of .01, from the second epoch on."""
    bots = BOTS(plain_pool(8), selector="greso", evidence="none")
    rows = bots.select(8, step=0)
    bots.observe(rows, [group(8)] * 8, step=0)
    bots.select(8, step=1)
    assert bots.metrics()["selector/p_easy"] == 0.5  # the first epoch
    bots.observe([0, 1, 2, 3, 4, 5, 6, 7], [group(8), *[group(4)] * 7], step=1)
    bots.select(1, step=2)
    assert bots.metrics()["selector/p_easy"] == pytest.approx(0.49)  # 1/8 ≥ 1/12
    assert bots.metrics()["selector/p_hard"] == pytest.approx(0.51)  # 0/8 < 1/6
    bots.observe([0, 1, 2, 3, 4, 5, 6, 7], [group(0), group(0), *[group(4)] * 6], step=2)
    bots.select(1, step=3)
    assert bots.metrics()["selector/p_easy"] == pytest.approx(0.50)
    assert bots.metrics()["selector/p_hard"] == pytest.approx(0.50)  # 2/8 ≥ 1/6
    bots.observe([0], [[1.0]], step=3)  # one rollout says nothing
    assert bots._parts.selector.streak[0] == -1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"p_easy": 1.0}, r"p_easy is 1.0; it must be in \[0.05, 0.95\]"),
        ({"p_hard": 0.0}, "p_hard is 0.0"),
        ({"target": 0}, "target is 0; it must be a share"),
        ({"step": 1}, "step is 1; it must be in"),
    ],
)
def test_greso_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        BOTS(plain_pool(3), selector="greso", selector_options=options)


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


# --- DPS


def test_dps_follows_the_hidden_markov_model():
    """γ = ½, A₀ = 1. Two observations, one wave without, and the prediction for the wave after it."""
    bots = BOTS(plain_pool(3), selector="dps")
    dps = bots._parts.selector
    rows = np.array([0, 1, 2])
    assert dps.partial(rows) == pytest.approx([1 / 3] * 3)
    bots.observe([1], [group(3)], step=0)
    # A has the row (4/3, 4/3, 4/3) for "partly solved" and ones elsewhere: each column is (.3, .4, .3).
    assert dps.records["state"][0] == pytest.approx([0.3, 0.4, 0.3])
    bots.observe([1], [group(8)], step=1)
    # ½A + ½ has the row 7/6; one transition from partly solved to solved is added. Column "solved": (1, 7/6, 1).
    assert dps.records["state"][0] == pytest.approx([6 / 19, 7 / 19, 6 / 19])
    bots.select(3, step=3)
    # Wave 2 without it: the row 13/12, and 3/2 for partly solved to solved. Columns (12, 13, 12)/37, (12, 13, 18)/43.
    assert dps.partial(rows)[1] == pytest.approx(13 / 19 * (12 / 37 + 7 / 43))
    assert dps.partial(rows)[[0, 2]] == pytest.approx([1 / 3] * 2)


def test_dps_prefers_what_is_partly_solved_and_forgets_towards_the_prior():
    bots = BOTS(plain_pool(30), selector="dps", selector_options={"candidates": None})
    for step in range(3):
        bots.observe(np.arange(30), [group(0)] * 10 + [group(4)] * 10 + [group(8)] * 10, step=step)
    assert sorted(bots.select(10, step=3).tolist()) == list(range(10, 20))
    bots.select(10, step=10_000)
    assert bots._parts.selector.partial(np.arange(30)) == pytest.approx([1 / 3] * 30)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retention": 1.5}, r"retention is 1.5; it must be in \[0, 1\]"),
        ({"prior": 0.0}, "prior is 0.0; it must be a finite number > 0"),
        ({"candidates": -1}, "candidates is -1"),
    ],
)
def test_dps_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        BOTS(plain_pool(3), selector="dps", selector_options=options)


# --- VADE


@pytest.mark.parametrize("belief", ["beta", "state_space"])
def test_vade_orders_by_the_information_gain(belief):
    """θ(1-θ)²: .081, .128, .148, .125, .096 and .009."""
    theta = np.array([0.1, 0.2, 1 / 3, 0.5, 0.6, 0.9])
    if belief == "beta":
        bots = BOTS(plain_pool(6), selector="vade", prior=(1e7 * theta, 1e7 * (1 - theta)))
        assert bots.select(6).tolist() == [2, 1, 3, 4, 0, 5]
        assert (bots.settings["lam"], bots.settings["rho"], bots.settings["evidence"]) == (0.1, 0, "none")
    else:
        bots = BOTS(plain_pool(60), selector="vade", belief="state_space", seed=1)
        for step in range(12):
            bots.observe(np.arange(60), [group(8, 24)] * 30 + [group(24, 24)] * 30, step=step)
        assert (bots.select(20, step=12) < 30).mean() > 0.9


# --- CurES


def test_cures_draws_in_proportion_to_the_softmax_of_the_deviations():
    """√(.5·.5)/.1 = 5 and √(.1·.9)/.1 = 3: the first is drawn e²/(1 + e²) = .881 of the time."""
    prior = np.array([5e6, 1e6]), np.array([5e6, 9e6])
    bots = BOTS(plain_pool(2), selector="cures", selector_options={"replacement": True}, prior=prior)
    drawn = [bots.select(1, step=step)[0] for step in range(3000)]
    assert np.mean(np.array(drawn) == 0) == pytest.approx(0.881, abs=0.024)  # four standard deviations


def test_cures_draws_every_task_before_one_twice():
    bots = BOTS(plain_pool(10), selector="cures")
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


# --- DOTS


def embedded_pool(vectors, **columns):
    flat = pa.array(np.asarray(vectors, np.float32).ravel())
    embedding = pa.FixedSizeListArray.from_arrays(flat, len(vectors[0]))
    return TaskPool(pa.table({"embedding": embedding, **columns}))


A, B = np.array([1.0, -1, 1, -1]), np.array([1.0, 1, -1, -1])


def test_dots_attends_to_the_reference_set():
    """h = 4, so that scores are 2·cos: weights e²/(e² + 1) = .8808 and .1192 on pass rates 1 and ¼."""
    pool = embedded_pool([A, B, A, 5 + 3 * A, B, 0 * A])
    bots = BOTS(pool, selector="dots_similarity", evidence_options={"rate": 0.1}, rollouts=8)
    predicted = bots._parts.evidence.predict_rows
    bots.observe([0, 1], [group(8), group(2)], step=0)
    near_a = 0.880797 + 0.119203 / 4  # .9106
    near_b = 0.119203 + 0.880797 / 4
    expected = [near_a, near_a, near_b]  # centred and scaled embeddings
    assert predicted(np.array([2, 3, 4])) == pytest.approx(expected, abs=1e-5)
    assert np.isnan(predicted(np.array([5])))[0]
    # λ = ρ = 1: the newest prediction alone, on the prior.
    assert bots.predict_mean([2, 4]) == pytest.approx((1 + 8 * np.array([near_a, near_b])) / 10, abs=1e-5)
    # All wrong where .9106 was predicted: w = 1 - .1·.9106·logit(.9106) and b = -.1·.9106.
    bots.observe([2], [group(0)], step=1)
    metrics = bots.metrics()
    assert metrics["evidence/scale"] == pytest.approx(1 - 0.1 * near_a * log(near_a / (1 - near_a)), abs=1e-4)
    assert metrics["evidence/bias"] == pytest.approx(-0.1 * near_a, abs=1e-5)


def test_dots_draws_in_proportion_to_the_softmax_of_the_distances():
    """Means .5 and .502 with τ = .001: the first is drawn e²/(1 + e²) = .881 of the time."""
    prior = np.array([5e6, 5.02e6]), np.array([5e6, 4.98e6])
    bots = BOTS(embedded_pool([A, B]), selector="dots_similarity", prior=prior)
    drawn = [bots.select(1, step=step)[0] for step in range(3000)]
    assert np.mean(np.array(drawn) == 0) == pytest.approx(0.881, abs=0.024)


# --- GPS


def test_gps_infers_the_latent_numbers_of_all_tasks():
    """Only the constant varies: one task all right gives 1 - σ(z) = z, so z = .40106, with variance
    1/(1 + σ(z)(1-σ(z))) = .80631; p̃ = σ(.40106/√(1 + π/8·.80631)) = .58650."""
    bots = BOTS(embedded_pool([np.ones(2)] * 3), selector="gps", rollouts=8)
    evidence = bots._parts.evidence
    assert np.isnan(evidence.predict_rows(np.array([1])))[0]
    bots.observe([0], [group(8)], step=0)
    assert evidence.mean[0] == pytest.approx(0.40106, abs=1e-5)
    assert evidence.covariance[0, 0] == pytest.approx(0.80631, abs=1e-4)
    assert evidence.predict_rows(np.array([1, 2])) == pytest.approx([0.5865] * 2, abs=1e-4)


def test_gps_learns_which_embeddings_are_hard_and_follows_the_policy():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 4))
    bots = BOTS(embedded_pool(vectors), selector="gps", rollouts=16)
    for step in range(30):
        rates = 1 / (1 + np.exp(-(2 * vectors[:, 1] + step / 10 - 1.5)))
        rows = bots.select(32, step=step)
        bots.observe(rows, rng.random((32, 16)) < rates[rows, None], step=step)
    predicted = bots._parts.evidence.predict_rows(np.arange(400))
    assert np.corrcoef(predicted, rates)[0, 1] > 0.95
    assert predicted.mean() == pytest.approx(rates.mean(), abs=0.1)


@pytest.mark.parametrize(("weight", "second"), [(0.1, 2), (0.03, 1)])
def test_gps_weighs_utility_against_diversity(weight, second):
    """Utilities 0, -.0001 and -.04; rows 0 and 1 have one embedding, row 2 the opposite: D = 1, worth w."""
    mean = np.array([0.5, 0.49, 0.3])
    options = {"selector_options": {"diversity": weight}, "prior": (1e6 * mean, 1e6 * (1 - mean))}
    bots = BOTS(embedded_pool([A, A, -A]), selector="gps", **options)
    assert bots.select(2, step=0).tolist() == [0, second]
    # Away from the last batch, row 0: row 2 gains -.04 + w.
    bots = BOTS(embedded_pool([A, A, -A]), selector="gps", **options)
    bots.select(1, step=0)
    assert bots.select(1, step=1).tolist() == [0 if weight == 0.03 else 2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"selector": "gps", "selector_options": {"diversity": -1}}, "diversity is -1; it must be a finite"),
        ({"selector": "gps", "evidence_options": {"dimensions": 0}}, "dimensions is 0; it must be a whole"),
        ({"selector": "gps", "evidence_options": {"spread": 0}}, "spread is 0; it must be a finite"),
        (
            {"selector": "gps", "evidence_options": {"column": "z"}},
            "evidence 'latent' needs the feature column 'z'",
        ),
        (
            {"selector": "gps", "selector_options": {"column": "z"}},
            "selector 'gps' needs the feature column 'z'",
        ),
        ({"selector": "gps", "lam": 0.1}, "selector 'gps' is defined by lam=1.0"),
        ({"selector": "dots_similarity", "evidence_options": {"rate": 2}}, "rate is 2; it must be in"),
        (
            {"selector": "dots_similarity", "evidence_options": {"column": "z"}},
            "evidence 'attention' needs the",
        ),
        ({"selector": "dots_similarity", "selector_options": {"temperature": 0}}, "temperature is 0"),
        ({"selector": "dots_similarity", "belief": "state_space"}, "defined by λ and ρ of belief 'beta'"),
    ],
)
def test_dots_and_gps_refuse(settings, words):
    with pytest.raises(ValueError, match=words):
        BOTS(embedded_pool([A, B]), **settings)
    with pytest.raises(ValueError, match="one number for each task; attention needs at least two"):
        BOTS(embedded_pool([[1.0], [2.0]]), selector="dots_similarity")


# --- all of them


RIVALS = ("adarft", "greso", "mopps_retention", "insight", "dps", "vade", "cures", "dots_similarity", "gps")


@pytest.mark.parametrize("selector", RIVALS)
def test_a_saved_run_goes_on_bit_for_bit(selector, tmp_path):
    """Selections and observations after a restart and a larger pool are those of the run that never stopped."""
    small, large = example_pool(300), example_pool(420)
    bots = BOTS(small, selector=selector, rollouts=8, seed=3)
    rng = np.random.default_rng(0)

    def steps(bots, first, rng):
        chosen = []
        for step in range(first, first + 6):
            rows = bots.select(24, step=step)
            bots.observe(rows, [rng.random(n) < 0.6 for n in rng.integers(1, 12, 24)], step=step)
            chosen.append(rows.tolist())
        return chosen

    steps(bots, 0, rng)
    bots.observe(bots.select(24, step=6)[:9], rng.random((9, 8)), step=6)  # the rest never arrives
    bots.save(tmp_path / "beliefs.arrow")
    restored = BOTS.load(tmp_path / "beliefs.arrow", small)
    for one in (bots, restored):
        one.grow(large)
    assert steps(restored, 7, np.random.default_rng(1)) == steps(bots, 7, np.random.default_rng(1))
    assert restored.metrics() == bots.metrics()
