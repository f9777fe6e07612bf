"""Allocations in the simulator: equal budgets, rounds, and n for all exactly as without an allocation."""

import numpy as np
import pytest

from bots.simulation import Simulation, WorldSpec, simulate

SMALL = {
    "world": WorldSpec(tasks=200, held_out=20),
    "steps": 30,
    "batch": 16,
    "rollouts": 8,
    "evaluate_every": 15,
}


def run(**options):
    return simulate(Simulation(**SMALL, options={"prior": "anchors", **options}), seed=0)


@pytest.mark.parametrize("measure", ["deviation", "variance", "mixed"])
def test_an_allocation_spends_the_budget_of_every_wave(measure):
    trace = run(allocation="signal", allocation_options={"measure": measure})
    assert (trace.rollouts.sum(axis=1) == 16 * 8).all()
    assert trace.rollouts.min() >= 2
    assert len(np.unique(trace.rollouts)) > 2
    assert np.isfinite(trace.overconfidence())


def test_rounds_go_on_until_there_is_a_signal():
    trace = run(allocation="until_signal", selector="random")
    assert set(np.unique(trace.rollouts)) == {4, 8, 12, 16}
    mixed = (trace.observed > 0) & (trace.observed < 1)
    assert (trace.rollouts[~mixed] == 16).all()
    assert trace.etr.mean() > run(selector="random").etr.mean()


def test_even_gives_n_to_all():
    assert (run().rollouts == 8).all()


def test_delayed_observations_may_be_ragged():
    simulation = Simulation(**SMALL, delay=2, options={"allocation": "knapsack", "prior": "anchors"})
    assert simulate(simulation, seed=1).rollouts.shape == (30, 16)
