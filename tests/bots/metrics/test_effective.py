"""Which groups count as effective."""

import numpy as np
import pytest

from bots.metrics import effective_task_ratio


def test_etr_counts_groups_that_are_not_constant():
    assert effective_task_ratio(np.array([[0, 0], [1, 1], [0, 1], [1, 0]])) == 0.5
    # Pass rate 0.5 without variance teaches nothing; a ragged batch is allowed.
    assert effective_task_ratio([[0.5, 0.5], [0.2, 0.3, 0.2], [1.0]]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([], "empty batch"),
        ([[]], "non-empty"),
        ([[0.0, 1.5]], r"group 0 has the reward 1\.5"),
        (np.array([[0.0, np.nan]]), "reward nan"),
        (np.array([0.0, 1.0]), r"\(tasks, rollouts\)"),
    ],
)
def test_etr_refuses(rewards, message):
    with pytest.raises(ValueError, match=message):
        effective_task_ratio(rewards)
