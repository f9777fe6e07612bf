"""pass@k against its definition."""

from itertools import combinations

import numpy as np
import pytest

from bots.metrics import pass_at_k


@pytest.mark.parametrize("n", [1, 3, 6])
def test_it_is_the_share_of_draws_with_a_right_one(n):
    for c in range(n + 1):
        completions = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            share = np.mean([any(draw) for draw in combinations(completions, k)])
            assert pass_at_k([c], n, k) == pytest.approx(share)


def test_tasks_count_alike_whatever_their_number_of_completions():
    # 1 - C(2,2)/C(4,2) = 5/6 and 1 - C(7,2)/C(8,2) = 1/4, by hand.
    assert pass_at_k([2, 1], [4, 8], 2) == pytest.approx((5 / 6 + 1 / 4) / 2)


def test_many_completions_do_not_overflow():
    assert pass_at_k([1], 100_000, 50_000) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("right", "n", "k", "says"),
    [
        ([], 4, 1, "no tasks"),
        ([1], 4, 0, "k is 0"),
        ([1], 4, 1.5, "k is 1.5"),
        ([1.9], 4, 1, "right has 1.9"),
        ([1], [4.5], 1, "samples has 4.5"),
        ([1, 1], [4, 2], 3, "one has 2"),
        ([5], 4, 1, "5 right"),
        ([-1], 4, 1, "-1"),
    ],
)
def test_bad_counts_are_refused(right, n, k, says):
    with pytest.raises(ValueError, match=says):
        pass_at_k(right, n, k)
