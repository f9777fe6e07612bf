"""Allocations in the simulator: equal budgets, rounds, and n for all exactly as without an allocation."""

import numpy as np
import pytest

from bots.simulation import Simulation, World, WorldSpec, simulate
from bots.simulation.comparison import comparison_metrics

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


def test_embeddings_leave_the_rest_of_a_world_as_it_is():
    plain, embedded = (World(WorldSpec(tasks=500, embedding=size), seed=2) for size in (0, 8))
    assert embedded.pool.table.drop(["embedding"]).equals(plain.pool.table)
    assert (embedded.held_out.difficulty == plain.held_out.difficulty).all()
    vectors = np.array(embedded.pool.table["embedding"].to_pylist())
    shown = np.abs([np.corrcoef(vectors @ vectors[k], plain.train.difficulty)[0, 1] for k in range(500)])
    assert 0.2 < shown.mean() < 0.8
    with pytest.raises(ValueError, match="embedding_signal is -1"):
        WorldSpec(embedding_signal=-1)


@pytest.mark.parametrize("delay", [0, 2])
def test_dynamic_sampling_replaces_groups_without_signal(delay):
    """Every trained group differs; the groups left out were drawn too, and count as evidence."""
    plain = simulate(Simulation(**SMALL, delay=delay, options={"selector": "random"}), seed=0)
    filtered = Simulation(**SMALL, delay=delay, options={"selector": "random"}, dynamic={"oversample": 1.5})
    trace = simulate(filtered, seed=0)
    assert (plain.completions == 16 * 8).all()
    assert (trace.completions >= 24 * 8).all()
    assert trace.completions.max() <= 4 * 24 * 8
    assert abs(trace.etr.mean() - plain.etr.mean()) < 0.1  # of all groups that were drawn
    assert (
        np.diff(trace.on_completions().at).tolist() == trace.completions.reshape(2, 15).sum(axis=1).tolist()
    )
    assert plain.coverage.tolist() == [min(1, 16 * step / 200) for step in range(1, 31)], (
        "no task twice in an epoch"
    )
    assert (trace.coverage >= plain.coverage).all(), "with those that the filter left out"
    metrics = comparison_metrics(trace, plain)
    steps = trace.curve.first_reaching(plain.curve.scores.max())
    spent = trace.completions[: int(steps)].sum()
    assert metrics["ttb100_completions"] == spent / (steps / metrics["ttb100"] * 16 * 8) > metrics["ttb100"]
    assert trace.curve.scores[-1] > plain.curve.scores[-1] + 0.02
    with pytest.raises(ValueError, match="9 requests of 24 tasks are more than the pool's 200"):
        Simulation(**SMALL, dynamic={"rounds": 9})
