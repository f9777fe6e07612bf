"""Groups of different sizes, and groups sampled in rounds, through the coordinator."""

import os
import signal

import numpy as np
import pytest
import ray

from actors.grader import Grader
from bots.rollouts.ledger import audit
from tests.actors.fakes import SAMPLES, TASKS, Crew


@pytest.fixture
def crew_of(cluster, tmp_path):
    made = []

    def make(**selection):
        graders = [Grader.options(num_cpus=0).remote(1, graders=["exact"])]
        made.append(Crew(tmp_path, graders, engines=2, staleness=0, pool_size=60, **selection))
        return made[-1]

    yield make
    for crew in made:
        crew.dismiss()


def step_of(crew, step):
    """A step as the learner runs it: rows, rewards, and texts of its groups."""
    groups, figures, _ = ray.get(crew.coordinator.next_batch.remote(step), timeout=180)
    crew.publish(step)
    assert figures["completions"] == sum(len(group.rollouts) for group in groups)
    return [(group.row, group.rewards.tolist(), [r.text for r in group.rollouts]) for group in groups]


def going_back_repeats(crew, steps):
    """Run steps with a checkpoint in between; resumed from it, the steps repeat exactly, even if actors are lost."""
    crew.restore()
    crew.publish(0)
    before = [step_of(crew, step) for step in range(1, steps + 1)]
    checkpoint = ray.get(crew.coordinator.checkpoint.remote())
    after = [step_of(crew, step) for step in range(steps + 1, 2 * steps + 1)]
    os.kill(ray.get(crew.coordinator.pid.remote()), signal.SIGKILL)
    crew.restore(checkpoint)
    crew.publish(steps)
    for engine in crew.engines:
        os.kill(ray.get(engine.pid.remote()), signal.SIGKILL)
    assert [step_of(crew, step) for step in range(steps + 1, 2 * steps + 1)] == after
    return before + after


def test_allocated_sizes_are_generated_and_survive_a_checkpoint(crew_of, tmp_path):
    crew = crew_of(allocation="knapsack", selector="random", lam=0.0)
    batches = going_back_repeats(crew, 4)
    sizes = np.array([[len(rewards) for _, rewards, _ in batch] for batch in batches])
    assert (sizes.sum(axis=1) == TASKS * SAMPLES).all(), "the budget is the wave's n·B"
    assert (sizes[0] == SAMPLES).all(), "all beliefs are still the prior"
    assert len(set(sizes[-1].tolist())) > 1
    observed = ray.get(crew.posterior.table.remote())
    assert observed["observations"].to_numpy().sum() == TASKS * 8
    trained = audit(tmp_path / "ledger.jsonl").trained
    assert len(trained) == TASKS * 8


def test_groups_are_sampled_until_they_have_a_signal(crew_of, tmp_path):
    """Rounds of 2, at most 4 of them; a completion is right with probability one half."""
    crew = crew_of(allocation="until_signal")
    batches = going_back_repeats(crew, 3)
    groups = [rewards for batch in batches for _, rewards, _ in batch]
    assert {len(rewards) for rewards in groups} > {2, 4}
    for rewards in groups:
        assert len(set(rewards)) == 2 or len(rewards) == 8
        for end in range(2, len(rewards), 2):
            assert len(set(rewards[:end])) == 1, "no round after there is a signal"
    assert len(audit(tmp_path / "ledger.jsonl").trained) == TASKS * 6
