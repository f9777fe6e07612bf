"""The simulated world and the law of learning, piece by piece."""

import numpy as np
import pytest

from bots.simulation import Law, SimulatedLearner, Simulation, World, WorldSpec

SPEC = WorldSpec(tasks=4000, held_out=500)


def test_anchors_are_noisy_measurements_of_two_models():
    world = World(WorldSpec(tasks=4000, missing=0.25, domains={"math": 3, "code": 1}, domain_gap=1.0), seed=1)
    known = ~np.isnan(world.pool.weak)
    assert known.mean() == pytest.approx(0.75, abs=0.03)
    both = known & ~np.isnan(world.pool.strong)
    assert world.pool.strong[both].mean() > world.pool.weak[both].mean() + 0.2
    assert np.corrcoef(world.pool.weak[both], -world.train.difficulty[both])[0, 1] > 0.6
    assert np.mean(world.train.domain == 0) == pytest.approx(0.75, abs=0.03)
    assert world.pool.domains == tuple(dict.fromkeys(world.pool.table["domain"].to_pylist()))
    again = World(SPEC, seed=5)
    assert np.array_equal(World(SPEC, seed=5).pool.weak, again.pool.weak)
    assert not np.array_equal(World(SPEC, seed=6).pool.weak, again.pool.weak)


def groups(learner, want, count=32):
    rates = learner.pass_rates()
    return np.argsort(np.abs(rates - want))[:count]


def test_only_groups_with_variance_teach_and_they_teach_their_neighbourhood():
    learner = SimulatedLearner(World(SPEC, 0), Law(forgetting=0, own=0), 0)
    rows = groups(learner, 0.5)
    start = learner.score()
    for constant in (0.0, 1.0):
        learner.learn(rows, np.full((32, 8), constant))
    assert learner.score() == start
    learner.learn(rows, np.tile([0.0, 1.0], (32, 4)))
    signal = np.mean(learner.train.discrimination[rows]) * 8 / 7 / 4
    assert 0 < learner.ability.max() <= 0.3 * signal  # rate times mean a·v, most of it in reach
    near = np.argmin(np.abs(learner.bins - learner.train.difficulty[rows].mean()))
    assert learner.ability[0, near] > 5 * learner.ability[0, -1]
    assert learner.score() > start


def test_own_gain_fades_and_ability_is_forgotten():
    law = Law(rate=0.5, own=2.0, forgetting=0.1, own_forgetting=0.2)
    learner = SimulatedLearner(World(SPEC, 0), law, 0)
    rows, idle = groups(learner, 0.5, 8), np.zeros((1, 4))
    before = learner.pass_rates(rows)
    learner.learn(rows, np.tile([0.0, 1.0], (8, 2)))
    taught = learner.pass_rates(rows)
    assert (taught > before + 0.05).all()
    for _ in range(60):
        learner.learn(np.array([0]), idle)
    np.testing.assert_allclose(learner.pass_rates(rows), before, atol=0.01)


def test_fractional_rewards_have_the_right_mean():
    learner = SimulatedLearner(World(SPEC, 0), Law(reward_concentration=3.0), 0)
    rows = groups(learner, 0.4, 200)
    rewards = learner.generate(rows, 64)
    assert ((rewards > 0) & (rewards < 1)).mean() > 0.99
    assert rewards.mean() == pytest.approx(0.4, abs=0.02)


def test_churn_keeps_the_spread_and_jumps_reverse_the_drift():
    learner = SimulatedLearner(
        World(SPEC, 0), Law(rate=0, residual=1.5, churn=0.1, drift=0.1, jump_every=5), 0
    )
    first, idle = learner.residual.copy(), np.zeros((1, 4))
    path = []
    for _ in range(10):
        learner.learn(np.array([0]), idle)
        path.append(learner.base)
    assert path[3] == pytest.approx(0.4)
    assert path[4] == pytest.approx(0.3)
    assert path[8] == pytest.approx(-0.1)
    assert learner.residual.std() == pytest.approx(1.5, rel=0.05)
    assert abs(np.corrcoef(first, learner.residual)[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WorldSpec(domains={"math": 0}), "every share must be > 0"),
        (lambda: WorldSpec(missing=2), "missing is 2"),
        (lambda: Law(forgetting=-1), "forgetting is -1"),
        (lambda: Law(transfer=0), "transfer is 0"),
        (lambda: Simulation(rollouts=1), "rollouts is 1"),
        (lambda: Simulation(batch=20_000), "batch is 20000"),
    ],
)
def test_impossible_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
