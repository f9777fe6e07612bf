import numpy as np
import pytest
from scipy.stats import wilcoxon

from bots.metrics import holm, signed_rank_test


@pytest.mark.parametrize("seed", range(20))
def test_equals_scipys_exact_test(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0.4, 1, 9), rng.normal(0, 1, 9)
    assert signed_rank_test(a, b) == pytest.approx(wilcoxon(a, b, method="exact").pvalue)


def test_ties_by_hand():
    # Differences 1, 1, 1, -1 share the rank 2.5: |sum| = 5 or more in 2 · (1 + 4) of 16 patterns.
    assert signed_rank_test([2, 2, 2, 0], [1, 1, 1, 1]) == 10 / 16


def test_differences_that_differ_by_rounding_tie():
    tenths = signed_rank_test([0.3, 0.5, 0.6, 0.7], [0.1, 0.3, 0.4, 0.9])
    assert tenths == signed_rank_test([3, 5, 6, 7], [1, 3, 4, 9]) == 10 / 16
    logs = np.log([1.5, 2 / 3, 3.0])
    assert abs(logs[0]) != abs(logs[1])
    assert signed_rank_test(logs, np.zeros(3)) == signed_rank_test([1, -1, 2], [0, 0, 0])
    assert signed_rank_test([0.1 + 0.2], [0.3]) == 1.0, "no difference"
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = rng.integers(1, 100, (2, 8))
        assert signed_rank_test(a / 600, b / 600) == signed_rank_test(a, b)


def test_a_run_that_never_arrives_ranks_last_and_two_of_them_tie():
    assert signed_rank_test([1, 2, 3, np.inf], [2, 4, 6, 1]) == signed_rank_test([1, 2, 3, 99], [2, 4, 6, 1])
    assert signed_rank_test([1, 2, 3, np.inf], [2, 4, 6, np.inf]) == signed_rank_test([1, 2, 3], [2, 4, 6])
    assert signed_rank_test([1.0], [1.0]) == 1.0


def test_eight_seeds_that_agree():
    assert signed_rank_test(np.zeros(8), np.arange(1, 9)) == 2 / 256


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("a", "b"), [([1, 2], [1]), ([], []), ([np.nan], [1]), (np.zeros(21), np.ones(21))])
def test_refuses(a, b):
    with pytest.raises(ValueError, match=r"rows|NaN"):
        signed_rank_test(a, b)
