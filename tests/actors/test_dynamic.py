"""Dynamic sampling when some or all completions cannot be graded."""

import json
from collections import Counter

import pytest
import ray

from bots.graders.waiting import Result
from bots.rollouts.ledger import audit
from tests.actors.fakes import Crew


@ray.remote(num_cpus=0)
class Unsure:
    """A grader that gives no verdict on every `every`-th task."""

    def __init__(self, every):
        self.every = every

    def ready(self):
        return True

    def grade(self, items):
        return [self._result(*item) for item in items]

    def _result(self, grader, prompt, answer, completion):
        if int(prompt) % self.every == 0:
            return Result(None, "no verdict", 0.0)
        return Result(float(completion == answer), "", 0.0)


def crew_of(tmp_path, every, pool_size=24):
    dynamic = {"oversample": 1.0}
    return Crew(tmp_path, [Unsure.remote(every)], staleness=0, pool_size=pool_size, dynamic=dynamic)


def test_where_nothing_can_be_graded_the_reason_is_told(cluster, tmp_path):
    crew = crew_of(tmp_path, every=1)
    with pytest.raises(RuntimeError, match="no group of step 1 could be graded: no verdict"):
        crew.first_step()
    crew.dismiss()


def test_what_could_not_be_graded_is_not_selected_again_for_the_same_batch(cluster, tmp_path):
    crew = crew_of(tmp_path, every=2)
    groups, figures = crew.first_step()
    assert 0 < len(groups) <= 12, "half of the pool"
    assert all(group.row % 2 for group in groups)
    assert figures["dropped_groups"] == 12, "the other half, each of them once"
    events = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    selected = Counter(
        row for e in events if e["event"] == "selected" and e["wave"] == 1 for row in e["rows"]
    )
    assert selected == dict.fromkeys(range(24), 1)
    audit(tmp_path / "ledger.jsonl")
    crew.dismiss()
