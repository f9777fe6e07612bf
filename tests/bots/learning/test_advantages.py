import numpy as np
import pytest

from bots.learning.advantages import group_centred, group_normalised, leave_one_out


def test_normalised_advantage_has_mean_zero_and_deviation_one():
    # One right answer of four: mean 1/4, standard deviation sqrt(3)/4.
    expected = np.array([3, -1, -1, -1]) / np.sqrt(3)
    assert group_normalised(np.array([1.0, 0, 0, 0])) == pytest.approx(expected)


@pytest.mark.parametrize("rewards", [[0.0, 0, 0], [1.0, 1, 1], [0.3, 0.3, 0.3]])
def test_equal_rewards_teach_nothing(rewards):
    assert not group_normalised(np.array(rewards)).any()


@pytest.mark.parametrize("advantages", [group_normalised, group_centred, leave_one_out])
@pytest.mark.parametrize("reward", [0.1, 0.7, 1 / 3])
def test_equal_fractions_teach_nothing_to_the_last_bit(reward, advantages):
    assert all(not advantages(np.full(n, reward)).any() for n in range(2, 20))


def test_centred_advantage_keeps_the_spread():
    assert group_centred(np.array([1.0, 0, 0, 0])).tolist() == [0.75, -0.25, -0.25, -0.25]


def test_leave_one_out_compares_with_the_others():
    # 1 against mean(0, .5) = .25; 0 against .75; .5 against .5
    assert leave_one_out(np.array([1.0, 0, 0.5])) == pytest.approx([0.75, -0.75, 0.0])


def test_leave_one_out_needs_a_sibling():
    with pytest.raises(ValueError, match="at least 2"):
        leave_one_out(np.array([1.0]))
