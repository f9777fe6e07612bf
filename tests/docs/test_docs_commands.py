"""The commands of the documentation are taken as they stand: jobs up to where they would start, the rest whole.

docs/report.md's commands run in tests/pipelines/report/test_page.py, docs/cluster.md's in tests/cluster.
"""

import importlib.util
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from bots.config.train import load_config
from pipelines.cli import main
from pipelines.shared.shipped import with_paths
from pipelines.sweeps.config import load_sweep

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = {"cluster", "report", "study"}
HUB = "guru"
"""In the name of a configuration: its model and tasks come from a hub."""


def commands(*programs):
    """(page, words) of each command line of a block or between backticks; a shell variable stands for `bots`."""
    found = {}
    for page in PAGES:
        if page.stem in ELSEWHERE:
            continue
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(r"(?m)^(?: {4,}|\$ |(?=bots [a-z]|python -m ))(\S.*)$|`([^`\n]+)`", text):
            words = shlex.split("".join(line).replace("$s", "bots"), comments=True) if _is_shell(line) else []
            if words[: len(programs)] == list(programs) and len(words) > len(programs):
                found[" ".join(words)] = words
    return [pytest.param(words, id=name) for name, words in found.items()]


def _is_shell(line):
    return re.match(r"(bots|make|python -m) ", "".join(line)) is not None


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder in which the commands find the configurations, and may write."""
    for folder in ("configs", "tune_configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pages_have_commands():
    jobs = [param.values[0][1] for param in commands("bots")]
    assert {"train", "tune", "simulate", "watch", "report"} <= set(jobs)
    assert len(commands("make")) >= 6
    assert len(commands("python", "-m")) >= 5


JOBS = ("train", "tune", "simulate")
# A name without its arguments is prose.
STARTED = [param for param in commands("bots") if param.values[0][1] in JOBS and len(param.values[0]) > 2]


@pytest.mark.parametrize("words", STARTED)
def test_a_job_would_start(words, checkout, capsys):
    words = [word for word in words[1:] if word not in ("--dry-run", "--resume")]
    words = [words[0], *with_paths(words[0], words[1:])]
    if "--fit" in words:
        assert main(words) == 2
        assert re.search(r"runs/(one|lab_fit_random)", capsys.readouterr().err), (
            "refused for the missing run only"
        )
        return
    config = checkout / words[1]
    if words[:2] == ["simulate", "runs/sim_grid/best.yaml"]:
        # What the sweep of the line before writes: the point under the name of an arm.
        config.parent.mkdir(parents=True)
        shutil.copy(ROOT / "configs" / "sim_lab.yaml", config)
    if any("lab.embeddings.parquet" in word for word in words):
        assert main(["embed", "configs/lab.yaml"]) == 0, "the line before"
    if HUB in words[1]:
        load = load_config if words[0] == "train" else load_sweep
        load(config, words[2:])
        return
    assert main([*words, "--dry-run"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("words", commands("make"))
def test_make_knows_the_target(words):
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", commands("python", "-m"))
def test_the_module_is_there(words):
    assert importlib.util.find_spec(words[2]) is not None
