"""One process at a time in a job's folder, whatever the job."""

import signal
import subprocess
import sys

import pytest
from filelock import FileLock
from rich.console import Console

from bots.config.tree import ConfigError
from pipelines.cli import main
from pipelines.shared.lock import folder_lock
from pipelines.train import train
from pipelines.training.run_folder import create_folder
from tests.pipelines.contents import files

QUIET = Console(quiet=True)
HOLD = """import sys, filelock
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print(flush=True)
sys.stdin.read()"""


@pytest.fixture
def folder(tmp_path):
    """A job's folder with something in it."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "results").write_text("kept")
    return folder


def test_a_folder_has_one_process_until_that_ends_however_it_does(folder):
    command = [sys.executable, "-c", HOLD, str(folder.parent / ".small.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(ConfigError, match=r"a job in .*small is alive"), folder_lock(folder, QUIET):
            pass
        with folder_lock(folder.with_name("other"), QUIET):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with folder_lock(folder, QUIET), pytest.raises(ConfigError, match="is alive"), folder_lock(folder, QUIET):
        pass
    assert not list(folder.parent.glob(".*.lock"))


@pytest.mark.parametrize("flag", ["resume", "overwrite"])
def test_a_run_that_is_alive_keeps_its_results(small_job, flag):
    config = small_job()
    folder = create_folder(config, resume=False, overwrite=False)
    (folder / "metrics.jsonl").write_text('{"step": 0}\n')
    before = files(folder)
    with folder_lock(folder, QUIET), pytest.raises(ConfigError, match=r"a job in .*small is alive"):
        train(config, console=QUIET, **{flag: True})
    assert files(folder) == before


@pytest.mark.parametrize(
    ("command", "config", "known_by", "section"),
    [
        ("anchors", "configs/lab_anchors.yaml", "config.yaml", "run"),
        ("simulate", "configs/sim_lab.yaml", "simulation.yaml", "run"),
        ("tune", "tune_configs/sim_grid.yaml", "sweep.yaml", "sweep"),
    ],
)
def test_a_job_that_is_alive_keeps_its_results(folder, capsys, command, config, known_by, section):
    (folder / known_by).write_text("run: {}\nweak: {}\nstrong: {}\n")
    before = files(folder)
    with folder_lock(folder, QUIET):
        name = [f"{section}.folder={folder.parent}", f"{section}.name={folder.name}"]
        assert main([command, config, *name, "--overwrite"]) == 2
    said = capsys.readouterr().err
    assert f"a job in {folder} is alive" in said
    assert f"choose another {section}.name" in said
    assert files(folder) == before


def test_where_the_disk_cannot_lock_a_run_goes_on_with_a_warning(small_job, capsys, monkeypatch):
    def refuse(lock, *rest):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with folder_lock(small_job().run.path, Console(width=500)):
        pass
    said = capsys.readouterr().out
    assert ".small.lock cannot be locked (No locks available); make sure that no other process" in said
