"""Dynamic sampling when some or all completions cannot be graded."""

import json
from collections import Counter

import pytest
import ray

from bots.graders.waiting import Result
from bots.rollouts.ledger import audit
from tests.actors.fakes import TASKS, Crew


@ray.remote(num_cpus=0)
class Unsure:
    """A grader that gives no verdict on every `every`-th task, or if easy rewards all of its completions."""

    def __init__(self, every, easy=False):
        self.every, self.easy = every, easy

    def ready(self):
        return True

    def grade(self, items):
        return [self._result(*item) for item in items]

    def _result(self, grader, prompt, answer, completion):
        if int(prompt) % self.every == 0:
            return Result(1.0, "", 0.0) if self.easy else Result(None, "no verdict", 0.0)
        return Result(float(completion == answer), "", 0.0)


def crew_of(tmp_path, every, pool_size=24, refill="rounds", easy=False, **options):
    dynamic, graders = {"oversample": 1.0, "refill": refill}, [Unsure.remote(every, easy)]
    return Crew(tmp_path, graders, staleness=0, pool_size=pool_size, dynamic=dynamic, **options)


def events_of(tmp_path):
    return [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("refill", ["rounds", "each"])
def test_where_nothing_can_be_graded_the_reason_is_told(refill, cluster, tmp_path):
    crew = crew_of(tmp_path, every=1, refill=refill)
    with pytest.raises(RuntimeError, match="no group of step 1 could be graded: no verdict"):
        crew.first_step()
    crew.dismiss()


@pytest.mark.parametrize("refill", ["rounds", "each"])
def test_what_could_not_be_graded_is_not_selected_again_for_the_same_batch(refill, cluster, tmp_path):
    crew = crew_of(tmp_path, every=2, refill=refill)
    groups, figures = crew.first_step()
    assert 0 < len(groups) <= 12, "half of the pool"
    assert all(group.row % 2 for group in groups)
    assert figures["dropped_groups"] == 12, "the other half, each of them once"
    events = events_of(tmp_path)
    selected = Counter(
        row for e in events if e["event"] == "selected" and e["wave"] == 1 for row in e["rows"]
    )
    assert selected == dict.fromkeys(range(24), 1)
    audit(tmp_path / "ledger.jsonl")
    crew.dismiss()


def test_each_group_without_signal_is_replaced_and_the_batch_does_not_depend_on_which_was_graded_first(
    cluster, tmp_path
):
    batches = []
    for engines in (1, 3):
        folder = tmp_path / str(engines)
        folder.mkdir()
        crew = crew_of(folder, every=2, easy=True, pool_size=200, refill="each", engines=engines)
        groups, figures = crew.first_step()
        assert len(groups) == TASKS == figures["trained_groups"]
        assert all(0 < group.rewards.mean() < 1 for group in groups)
        selected = [event["rows"] for event in events_of(folder) if event["event"] == "selected"]
        left_out = int(figures["left_out_groups"])
        assert [len(rows) for rows in selected[: 1 + left_out]] == [TASKS] + [1] * left_out, "one for each"
        batches.append([group.row for group in groups])
        audit(folder / "ledger.jsonl")
        crew.dismiss()
    assert left_out > 1
    assert batches[0] == batches[1]
