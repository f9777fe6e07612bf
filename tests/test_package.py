"""What `pip install bots-rft` brings: the wheel of the sdist, in an environment with nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import numpy as np
import pyarrow as pa
import bots
from bots import BOTS, TaskPool
rates = np.linspace(0, 0.5, 50)
pool = TaskPool.from_arrow(pa.table({"weak": rates, "strong": rates + 0.5}), "weak", "strong")
one = BOTS(pool, rollouts=4)
rows = one.select(8)
assert one.observe(rows, np.ones((8, 4))) == 8
print(bots.__version__)
"""


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own(tmp_path):
    uv = [sys.executable, "-m", "uv"]
    run(*uv, "build", "--quiet", "--out-dir", tmp_path / "dist", ROOT)
    (wheel,), (_,) = (list((tmp_path / "dist").glob(kind)) for kind in ("*.whl", "*.tar.gz"))
    python, command = tmp_path / "env/bin/python", tmp_path / "env/bin/bots"
    run(*uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "env")
    run(*uv, "pip", "install", "--quiet", "--python", python, wheel)
    assert run(python, "-c", SCRIPT, cwd=tmp_path).strip()
    assert run(command, "--version", cwd=tmp_path).startswith("bots-rft ")
    refused = subprocess.run(
        [command, "train", "lab"], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert refused.returncode == 2
    assert "is not installed. It comes with pip install 'bots-rft[ray]'" in refused.stderr
    held = run(
        python,
        "-c",
        "from pipelines.shared.shipped import shipped; print(*shipped('train'), *shipped('tune'))",
    )
    assert {"lab", "guru_math_1.5b", "sim_grid"} <= set(held.split())


def test_the_dockerfile_is_in_order():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.is_file():
        pytest.skip("hadolint is not installed; `make peers` installs it")
    run(hadolint, ROOT / "Dockerfile")
