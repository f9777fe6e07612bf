"""What `pip install bots-rft` brings: the wheel of the sdist, in an environment with nothing else."""

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = [sys.executable, "-m", "uv"]
PYTHONS = ("3.11", "3.12", "3.13")
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


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The wheel, made from the sdist, and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(*UV, "build", "--quiet", "--out-dir", folder, ROOT)
    (wheel,), (sdist,) = (list(folder.glob(kind)) for kind in ("*.whl", "*.tar.gz"))
    return wheel, sdist


def interpreter(version):
    """A Python of that version on this machine, also one that pyenv keeps off the path; nothing is downloaded."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for name in (version, *map(str, kept.glob(f"{version}.*/bin/python"))):
        found = subprocess.run(
            [*UV, "python", "find", "--no-python-downloads", "--no-project", name],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if found.returncode == 0:
            return found.stdout.strip()
    pytest.skip(f"there is no Python {version} on this machine")


def test_the_index_would_take_the_package(dist):
    pytest.importorskip("twine", reason="twine is not installed; `make peers` installs it")
    run(sys.executable, "-m", "twine", "check", "--strict", *dist)
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    assert {f"Programming Language :: Python :: {version}" for version in PYTHONS} <= set(described)


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_works_in_an_environment_of_its_own(dist, tmp_path, version):
    python, command = tmp_path / "env/bin/python", tmp_path / "env/bin/bots"
    run(*UV, "venv", "--quiet", "--python", interpreter(version), tmp_path / "env")
    run(*UV, "pip", "install", "--quiet", "--python", python, dist[0])
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


@pytest.mark.slow
def test_the_one_line_of_uv_in_the_readme_starts_the_command(tmp_path):
    line = "uvx --from '.[gpu]' bots train guru_math_1.5b --dry-run"
    assert f"`{line}`" in (ROOT / "README.md").read_text()
    # The same without the extra, which is gigabytes: the library alone says what is missing.
    words = [word.replace(".[gpu]", str(ROOT)) for word in shlex.split(line)[1:]]
    done = subprocess.run(
        [*UV, "tool", "run", *words], capture_output=True, text=True, cwd=tmp_path, timeout=600
    )
    assert done.returncode == 2
    assert "is not installed. It comes with pip install 'bots-rft[ray]'" in done.stderr


def test_the_dockerfile_is_in_order():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.is_file():
        pytest.skip("hadolint is not installed; `make peers` installs it")
    run(hadolint, ROOT / "Dockerfile")
