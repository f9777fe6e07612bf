"""Coverage by difficulty, against counts by hand."""

import numpy as np
import pyarrow as pa

from bots.metrics.coverage import GROUPS, coverage
from bots.pool import TaskPool


def pool_of(**columns):
    return TaskPool.from_arrow(pa.table(columns), *(("weak", "strong") if "weak" in columns else ()))


def test_by_level():
    pool = pool_of(level=pa.array([1, 1, 1, 1, 2, 2, None], pa.int32()))
    found = coverage(pool, np.array([3, 0, 0, 0, 1, 1, 1]))
    assert found == {"coverage": 4 / 7, "coverage/level 1": 0.25, "coverage/level 2": 1.0}


def test_levels_that_are_words():
    found = coverage(pool_of(level=["easy", "hard", "hard"]), np.array([0, 1, 0]))
    assert found == {"coverage": 1 / 3, "coverage/level easy": 0.0, "coverage/level hard": 0.5}
    assert list(coverage(pool_of(level=[f"no {i}" for i in range(9)]), np.ones(9, int))) == ["coverage"]


def test_many_levels_are_joined():
    levels = np.arange(100)
    found = coverage(pool_of(level=levels), (levels < 50).astype(int))
    parts = {name: value for name, value in found.items() if name != "coverage"}
    assert len(parts) == GROUPS
    assert found["coverage/level 0 to 11"] == 1.0
    assert found["coverage/level 87 to 99"] == 0.0
    assert 0 < found["coverage/level 50 to 61"] + found["coverage/level 37 to 49"] <= 1.0


def test_one_level_of_nearly_all_tasks():
    levels = np.array([5] * 90 + list(range(6, 16)))
    found = coverage(pool_of(level=levels), np.ones(100, int))
    assert all(value == 1.0 for value in found.values())
    assert "coverage/level 5 to 15" in found or "coverage/level 5" in found


def test_by_reference_pass_rates_where_there_are_no_levels():
    pool = pool_of(weak=[0.0, 0.1, 0.8, None], strong=[0.2, 0.5, 1.0, None])
    found = coverage(pool, np.array([1, 0, 2, 5]))
    assert found == {
        "coverage": 0.75,
        "coverage/pass rate 0.00 to 0.25": 1.0,
        "coverage/pass rate 0.25 to 0.50": 0.0,
        "coverage/pass rate 0.75 to 1.00": 1.0,
    }


def test_neither():
    assert coverage(pool_of(domain=["a", "b"]), np.array([0, 1])) == {"coverage": 0.5}
