"""The commands in docs/cluster.md: those that can run here do; for the others, programs and options exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from ray.scripts.scripts import cli

from bots.config.train import load_config

ROOT = Path(__file__).parents[2]
BLOCKS = [
    re.sub(r"(?m)^  ", "", block) if block.startswith("  ") else block
    for block in re.findall(r"(?ms)^ *```bash\n(.+?)^ *```$", (ROOT / "docs" / "cluster.md").read_text())
]
CLOUD = [block for block in BLOCKS if block.startswith("# cloud\n")]
LOCAL = [block for block in BLOCKS if not block.startswith("# cloud\n")]


def commands(block):
    """The words of each command line, with continued lines joined."""
    return [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]


RAY = [words for block in BLOCKS for words in commands(block) if words[:1] == ["ray"]]
TRAIN = [words for words in RAY if "pipelines.train" in words]


def test_local_commands_run(tmp_path):
    assert LOCAL
    script = "set -e\n" + "\n".join(LOCAL)
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".ray" / "auth_token").read_text().strip() in done.stdout


@pytest.mark.parametrize("block", CLOUD, ids=lambda block: block.splitlines()[1][:40])
def test_cloud_commands_are_shell(block):
    checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("words", RAY, ids=" ".join)
def test_ray_knows_the_command_and_its_options(words):
    """Ray's own parser accepts the words; the command itself is not run."""
    command, name, arguments = cli, words[0], words[1:]
    while isinstance(command, click.Group):
        name, command, arguments = command.resolve_command(click.Context(command), arguments)
    command.make_context(name, list(arguments))


@pytest.mark.parametrize("words", TRAIN, ids=" ".join)
def test_the_runs_that_are_submitted_have_valid_configurations(words):
    config, *rest = words[words.index("pipelines.train") + 1 :]
    load_config(ROOT / config, [word for word in rest if not word.startswith("--")])


def test_every_value_to_fill_in_is_explained():
    text = (ROOT / "docs" / "cluster.md").read_text()
    for file in ("cluster.yaml", "rayjob.yaml"):
        assert "FILL_IN" in (ROOT / file).read_text()
        assert f"`{file}` marks `FILL_IN`" in text
