"""Every example runs as a script, as its first lines say, and says what it should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("selector", ["Exploring passes 11 checks", "step 60: "]),
        ("loss", ["cispo passes 8 checks", "cispo: 13 of 13 tokens"]),
        ("trainer", ["bots: score 0.10 -> 0.4", "random: score 0.10 -> 0.3"]),
    ],
)
def test_runs_as_a_script(script, words):
    command = [sys.executable, f"examples/{script}.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    for word in words:
        assert word in done.stdout


def test_each_is_listed_here():
    scripts = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert scripts == {"selector", "loss", "trainer"}
