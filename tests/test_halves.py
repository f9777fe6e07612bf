"""`make test` runs the suite in two halves: the failure of either is its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.halves import HALVES, status

ROOT = Path(__file__).parents[1]
SUITE = """
import pytest

@pytest.mark.ray
def test_with_ray():
    assert {ray}

def test_without():
    assert {rest}
"""


@pytest.mark.parametrize("failing", ["ray", "rest", None])
def test_a_failure_in_either_half_fails_the_whole(failing, tmp_path):
    holds = {name: name != failing for name in HALVES}
    (tmp_path / "test_two.py").write_text(SUITE.format(**holds))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  ray\n")
    command = [sys.executable, "-m", "tests.halves", "-c", str(tmp_path / "pytest.ini"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == (0 if failing is None else 1), done.stdout
    for name, good in holds.items():
        said = [line for line in done.stdout.splitlines() if line.startswith(f"{name:4s} | ")]
        assert any("1 passed, 1 deselected" in line for line in said) == good, done.stdout
        assert any("1 failed, 1 deselected" in line for line in said) != good, done.stdout
    if failing:
        assert re.match(rf"{failing} +. FAILED .*test_two.py::test_with", done.stdout.splitlines()[-1]), (
            done.stdout
        )


@pytest.mark.parametrize(
    ("codes", "whole"), [([0, 0], 0), ([0, 5], 0), ([5, 5], 5), ([5, 1], 1), ([2, 1], 2), ([0, -9], 137)]
)
def test_the_status_of_two_halves(codes, whole):
    assert status(codes) == whole
