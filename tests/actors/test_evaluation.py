"""The scores of one evaluation, from graded groups."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from actors.evaluation import Evaluation
from bots.config.train import EvaluationConfig
from bots.pool import TaskPool
from bots.rollouts.encoded_pool import EncodedPool
from bots.rollouts.rollout import Group, Rollout

NAN = float("nan")
REWARDS = [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0], [NAN, 1.0, NAN, NAN]]


def encoded(size, sets=None):
    columns = {"task_id": [f"t{i}" for i in range(size)], "domain": [("a", "b")[i % 2] for i in range(size)]}
    pool = TaskPool(pa.table(columns | ({"set": sets} if sets else {})))
    return EncodedPool(pool, [np.array([1], np.int32)] * size, ())


def scores(rewards, sets=None):
    evaluation = Evaluation(encoded(len(rewards), sets), SimpleNamespace())
    empty = Rollout(np.array([1], np.int32), np.zeros(1, np.float32), "", True, 0, "")
    for row, group in enumerate(rewards):
        assert not evaluation.done
        evaluation.add(row, Group(row, np.array([1], np.int32), [empty] * len(group), np.array(group)))
    return evaluation.scores()


def test_scores_standard_error_and_pass_at_k():
    found = scores(REWARDS)
    means = np.array([0.25, 0.875, 0.0, 1.0])
    assert found["score"] == means.mean()
    assert found["score_stderr"] == pytest.approx(means.std(ddof=1) / 2)
    assert found["score/a"] == 0.125
    assert found["score/b"] == 0.9375
    # The task with ungraded completions doesn't count. By hand, of 4 completions: 1 right, 3 right, none right.
    assert found["pass@2"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["pass@4"] == pytest.approx((1 + 1 + 0) / 3)
    assert "pass@8" not in found
    assert "pass@1" not in found
    assert found["evaluation_ungraded"] == 0


def test_one_completion_a_task_has_no_pass_at_k():
    found = scores([[1.0], [NAN]])
    assert not [key for key in found if key.startswith("pass@")]
    assert "score_stderr" not in found, "one graded task has no spread"
    assert found["evaluation_ungraded"] == 1


def test_named_sets_have_scores_of_their_own_and_count_equally():
    # Set m has three tasks, set n one: the score is the mean of 0.375 and 1.0, not of the four tasks.
    found = scores(REWARDS, sets=["m", "m", "m", "n"])
    means = np.array([0.25, 0.875, 0.0])
    assert found["score/set/m"] == means.mean() == 0.375
    assert found["score/set/n"] == 1.0
    assert found["score"] == (0.375 + 1.0) / 2
    assert found["score_stderr/set/m"] == pytest.approx(means.std(ddof=1) / 3**0.5)
    assert "score_stderr" not in found, "one task of n has no spread"
    assert found["pass@2/set/m"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert "pass@2" not in found
    assert found["score/a"] == 0.125, "domains are of all sets"
    both = scores(REWARDS[:2] * 2, sets=["m", "m", "n", "n"])
    assert both["score_stderr"] == pytest.approx(both["score_stderr/set/m"] / 2**0.5)


def test_a_set_without_a_grade_is_named():
    with pytest.raises(RuntimeError, match="none of the completions of the tasks of evaluation set n could"):
        scores([[1.0], [NAN]], sets=["m", "n"])


def test_each_set_has_its_samples():
    sources = [{"kind": "lab", "size": 4, "set": name, "anchors": None} for name in ("m", "n")]
    own = EvaluationConfig.model_validate({"pool": {"sources": sources}, "samples": {"m": 1, "n": 8}})
    config = SimpleNamespace(
        evaluation=own,
        rollout=SimpleNamespace(max_tokens=9, top_p=1.0, seeded=True),
        run=SimpleNamespace(seed=0),
    )
    pool = encoded(3, ["n", "m", "n"])
    assert [request.sampling.samples for request in Evaluation(pool, config).requests()] == [8, 1, 8]


def sets(*names):
    return {"sources": [{"kind": "lab", "set": name} for name in names]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool": sets("m", None)}, r"sources.1 has no `set`, but others have \(m\)"),
        ({"pool": sets("m", "n"), "samples": {"m": 2}}, r"for the sets m, but .* the sets m, n;"),
        ({"pool": sets(None), "samples": {"m": 2}}, r"for the sets m, but .* the sets \(none\)"),
        (
            {"pool": sets("m"), "samples": {"m": 2}, "temperature": 0},
            "decod|all completions of a task are the same",
        ),
        ({"pool": sets("a/b")}, "set"),
    ],
)
def test_sets_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        EvaluationConfig.model_validate(settings)


def test_completions_of_the_same_tasks_tell_policies_apart():
    evaluation = Evaluation(encoded(2), SimpleNamespace())
    for row, (length, nats, finished) in enumerate([(1, 0.5, True), (3, 0.1, False)]):
        one = Rollout(np.ones(length, np.int32), np.full(length, -nats, np.float32), "", finished, 0, "")
        evaluation.add(row, Group(row, np.array([1], np.int32), [one], np.array([1.0])))
    found = evaluation.scores()
    assert found["evaluation_completion_tokens"] == 2
    assert found["evaluation_entropy"] == pytest.approx((0.5 + 3 * 0.1) / 4), "a mean over tokens"
    assert found["evaluation_finished_share"] == 0.5
