"""The scores of one evaluation, from graded groups."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from actors.evaluation import Evaluation
from bots.pool import TaskPool
from bots.rollouts.encoded_pool import EncodedPool
from bots.rollouts.rollout import Group, Rollout

NAN = float("nan")
REWARDS = [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0], [NAN, 1.0, NAN, NAN]]


def scores(rewards):
    table = pa.table(
        {"task_id": [f"t{i}" for i in range(len(rewards))], "domain": ["a", "b"] * (len(rewards) // 2)}
    )
    pool = TaskPool(table)
    evaluation = Evaluation(EncodedPool(pool, [np.array([1], np.int32)] * len(pool), ()), SimpleNamespace())
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
