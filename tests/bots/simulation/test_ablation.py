"""The simulator reproduces the shape of the paper's ablation over λ and ρ with the real BOTS."""

import numpy as np
import pytest

from bots.metrics import best_so_far, time_to_best
from bots.simulation import Law, Simulation, WorldSpec, simulate

SEEDS = (0, 1, 2)


def runs(steps=300, tasks=10_000, **options):
    simulation = Simulation(WorldSpec(tasks=tasks), Law(), steps, options=options)
    return [simulate(simulation, seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def random():
    return runs(selector="random")


@pytest.fixture(scope="module")
def bots():
    return runs(adaptor=None)


def test_bots_learns_faster_than_random_on_more_effective_batches(random, bots):
    for run, baseline in zip(bots, random, strict=True):
        assert run.curve.scores[0] == baseline.curve.scores[0]  # paired by seed
        assert run.etr.mean() > baseline.etr.mean() + 0.05
        assert time_to_best(run.curve, baseline.curve, 0.5) < 0.9
        assert time_to_best(run.curve, baseline.curve, 1.0) < 0.8
        assert best_so_far(run.curve, baseline.curve, 0.25) > 1.05


def test_rho_0_starts_slowly(random, bots):
    slow = runs(rho=0.0)
    for run, default in zip(slow, bots, strict=True):
        assert run.signal[10:80].mean() < default.signal[10:80].mean() - 0.05


def test_lam_1_is_near_random(random, bots):
    forgetful = runs(lam=1.0)
    gain = np.mean(
        [run.signal.mean() - base.signal.mean() for run, base in zip(forgetful, random, strict=True)]
    )
    full = np.mean([run.signal.mean() - base.signal.mean() for run, base in zip(bots, random, strict=True)])
    assert gain < 0.35 * full


def test_lam_0_is_overconfident(bots):
    stubborn = runs(lam=0.0)
    for run, default in zip(stubborn, bots, strict=True):
        assert run.belief_sd[-100:].mean() < default.belief_sd[-100:].mean()
        assert run.overconfidence() > default.overconfidence() + 0.3
        assert run.calibration(200).log_loss > default.calibration(200).log_loss


def test_rho_1_decays_late_against_the_default(bots):
    implicit = runs(rho=1.0)
    lead = np.mean(
        [
            [
                run.signal[:60].mean() - base.signal[:60].mean(),
                run.signal[-60:].mean() - base.signal[-60:].mean(),
            ]
            for run, base in zip(implicit, bots, strict=True)
        ],
        axis=0,
    )
    assert lead[0] > 0
    assert lead[1] < lead[0] - 0.02


def test_delay_domains_missing_anchors_and_fractional_rewards_run_together():
    world = WorldSpec(tasks=500, domains={"math": 2, "logic": 1}, domain_gap=1.0, missing=0.2)
    simulation = Simulation(
        world, Law(reward_concentration=4.0), 60, batch=16, rollouts=4, delay=3, evaluate_every=15
    )
    trace, again = simulate(simulation, 4), simulate(simulation, 4)
    assert trace.curve.at.tolist() == [0, 15, 30, 45, 60]
    assert np.array_equal(trace.curve.scores, again.curve.scores)
    assert np.isfinite(trace.predicted).all()
    prompt = simulate(Simulation(world, Law(reward_concentration=4.0), 60, 16, 4, 0, 15), 4)
    np.testing.assert_array_equal(trace.predicted[:1], prompt.predicted[:1])
    assert not np.array_equal(trace.predicted, prompt.predicted)
