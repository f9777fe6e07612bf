"""TTB and BSF against examples worked by hand."""

import math

import pytest

from bots.metrics import Curve, best_so_far, time_to_best

RANDOM = Curve(at=[0, 40, 80, 120, 160], scores=[0.20, 0.30, 0.40, 0.36, 0.38])
FASTER = Curve(at=[0, 40, 80, 120, 160], scores=[0.20, 0.38, 0.35, 0.44, 0.42])


def test_time_to_best_by_hand():
    # Target at 50 %: .20 + .5·(.40−.20) = .30, random at 40, ours at 40; at 100 %: .40, 80 against 120.
    assert time_to_best(FASTER, RANDOM, 0.5) == 1.0
    assert time_to_best(FASTER, RANDOM, 1.0) == 1.5
    assert time_to_best(FASTER, RANDOM, 0.9) == 40 / 80  # target .38
    assert time_to_best(RANDOM, RANDOM, 1.0) == 1.0
    assert time_to_best(Curve([0, 40], [0.2, 0.3]), RANDOM, 1.0) == math.inf
    assert math.isnan(time_to_best(FASTER, Curve([0, 40], [0.5, 0.4]), 0.5))


def test_best_so_far_by_hand():
    assert best_so_far(FASTER, RANDOM, 0.25) == pytest.approx(0.38 / 0.30)
    assert best_so_far(FASTER, RANDOM, 0.6) == pytest.approx(0.38 / 0.40)  # the dip to .35 does not count
    assert best_so_far(FASTER, RANDOM) == pytest.approx(0.44 / 0.40)
    assert best_so_far(FASTER, RANDOM, budget=40) == pytest.approx(0.38 / 0.30)
    with pytest.raises(ValueError, match=r"fraction is 25"):
        best_so_far(FASTER, RANDOM, 25)
    with pytest.raises(ValueError, match="strictly increasing"):
        Curve([0, 40, 40], [1, 2, 3])
