"""Full disks, damaged results and locks of the jobs that write tables: nothing finished is lost, and one line says why.

The train job has its own: `tests/pipelines/training`.
"""

import errno
import json
import os
import shutil
import socket
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from bots.config.tree import ConfigError
from pipelines import study
from pipelines.cli import main
from pipelines.shared import job_folder
from pipelines.shared.command import run_job
from pipelines.shared.job_folder import check_writable, replacing_folder
from pipelines.shared.lock import folder_lock
from pipelines.studies.results import StudyResults
from pipelines.sweeps.config import load_sweep
from pipelines.sweeps.folders import has_ended
from pipelines.sweeps.run_folder import create_folder
from pipelines.tune import run_sweep
from tests.pipelines.contents import files
from tests.pipelines.faults import failing
from tests.pipelines.test_simulate import SMALL, record
from tests.pipelines.test_study_results import BOTS, add, study_file  # noqa: F401  (a fixture)

QUIET = Console(quiet=True)
SIM = ["configs/sim_ablation.yaml", *SMALL, "run.seeds=1", "run.steps=10"]


def study_in(path):
    tree = yaml.safe_load(Path("configs/study.yaml").read_text())
    tree |= {"results": str(path / "r"), "base": str(Path("configs", tree["base"]).absolute())}
    (path / "study.lock").write_text(yaml.safe_dump(tree))
    return main(["study", str(path / "study.lock")])


@pytest.fixture
def full_disk(monkeypatch):
    """Every probe of a folder finds the disk full."""

    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(job_folder, "TemporaryFile", full)


def test_a_probe_leaves_nothing_and_names_folder_and_setting(tmp_path):
    check_writable(tmp_path / "a" / "b", "run.folder")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigError, match=r"file/x cannot be written: Not a directory \(in .*file\).*another --page"
    ):
        check_writable(tmp_path / "file" / "x", "--page")


@pytest.mark.parametrize(
    ("job", "setting"),
    [
        (lambda path: main(["simulate", "configs/sim_lab.yaml", f"run.folder={path}"]), "run.folder"),
        (lambda path: main(["tune", "tune_configs/sim_grid.yaml", f"sweep.folder={path}"]), "sweep.folder"),
        (lambda path: main(["pool", "configs/lab.yaml", "--page", f"{path}/p.html"]), "--page"),
        (study_in, "results"),
    ],
    ids=["simulate", "tune", "pool", "study"],
)
def test_a_full_disk_is_known_before_anything_expensive(
    job, setting, tmp_path, capsys, full_disk, monkeypatch
):
    monkeypatch.setattr("pipelines.tune.ray_session", None)
    monkeypatch.setattr("pipelines.simulate.run_simulation", None)
    monkeypatch.setattr("pipelines.pool._read", None)
    monkeypatch.setattr("pipelines.study.train", None)
    assert job(tmp_path) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "cannot be written: No space left on device" in said
    assert said.endswith(f"choose another {setting}")
    assert not [path for path in tmp_path.iterdir() if not path.name.endswith(".lock")]


def test_a_simulation_that_can_t_be_written_leaves_the_old_one(tmp_path, capsys, monkeypatch):
    tree = yaml.safe_load(Path("configs/sim_lab.yaml").read_text())
    tree |= {
        "arms": {"bots": {}},
        "run": {"name": "sim", "folder": str(tmp_path / "runs"), "steps": 4, "seeds": 1},
    }
    (tmp_path / "sim.yaml").write_text(yaml.safe_dump(tree))
    command = ["simulate", str(tmp_path / "sim.yaml"), "world.tasks=100", "selection.tasks=8"]
    tmp_path = tmp_path / "runs"
    assert main(command) == 0
    before = files(tmp_path / "sim")
    with failing(monkeypatch, tmp_path, None) as watched:
        assert main([*command, "--overwrite"]) == 0
    assert len(watched.calls) > 12, "tables, texts, the picture and their renames"
    written = files(tmp_path / "sim")
    for at in range(len(watched.calls)):
        if watched.calls[at][1].endswith(".lock"):
            continue  # the lock's note is not needed
        with failing(monkeypatch, tmp_path, at, "half") as faults:
            assert main([*command, "--overwrite"]) == 1, faults.hit
        said = capsys.readouterr().err
        assert "bots simulate failed: [Errno 28] No space left on device: '" in said
        assert "Traceback" not in said
        assert files(tmp_path / "sim") == written, faults.hit
        assert sorted(path.name for path in tmp_path.iterdir()) == ["sim"], faults.hit
    assert before.keys() == written.keys()


def test_a_folder_is_replaced_as_a_whole_and_a_killed_one_is_no_hindrance(tmp_path):
    folder, killed = tmp_path / "sim", tmp_path / ".sim.new"
    folder.mkdir(), killed.mkdir()
    (folder / "old").touch(), (killed / "half").touch()
    with pytest.raises(ZeroDivisionError), replacing_folder(folder) as fresh:
        (fresh / "new").write_text(str(1 / 0))
    assert [path.name for path in folder.iterdir()] == ["old"]
    with replacing_folder(folder) as fresh:
        (fresh / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_study_s_finished_run_survives_a_full_disk(study_file, tmp_path, monkeypatch):  # noqa: F811
    config = study_file(seeds=1, folder=str(tmp_path / "runs"))
    trained = []

    def train(run, **_):
        trained.append(run.run.name)
        run.run.path.mkdir(parents=True)
        lines = [{"step": k, "score": 0.1 * k, "tokens": 1, "seconds": 1.0, "etr": 0.5} for k in range(3)]
        (run.run.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        summary = {"status": "finished", "wall_seconds": 12.5}
        (run.run.path / "summary.json").write_text(json.dumps(summary))

    monkeypatch.setattr(study, "train", train)
    monkeypatch.setattr(study, "write_page", lambda *_: None)
    page = tmp_path / "study.md"
    with monkeypatch.context() as full:
        full.setattr(StudyResults, "_write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            study.run_study(config, QUIET, page, "study.yaml", None)
    assert len(trained) == 1
    study.run_study(config, QUIET, page, "study.yaml", None)
    assert len(trained) == 2, "the first one is taken as it is"
    assert sorted(trained) == ["mixed-bots-0", "mixed-random-0"]
    rows = pq.read_table(config.results / "runs.parquet").to_pylist()
    assert rows[0]["wall_seconds"] == 12.5
    assert not list(config.folder.iterdir())
    assert sorted(path.name for path in config.results.iterdir() if path.suffix != ".lock") == [
        "runs.parquet",
        "steps.parquet",
    ]
    # A run of another configuration, or one that did not finish, starts over.
    again = study_file(seeds=1, folder=str(tmp_path / "runs"), common=["run.steps=77"])
    train(again.run(BOTS))
    note = {"fingerprint": config.fingerprint(BOTS), "timed": True}
    (again.results / "mixed-bots-0.json").write_text(json.dumps(note))
    assert (
        study._finished_before(
            again.results / "mixed-bots-0.json", again.run(BOTS).run.path, again.fingerprint(BOTS)
        )
        is None
    )


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a table\n"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "other columns": lambda path: pq.write_table(pq.read_table(path).drop_columns(["seed"]), path),
    "other types": lambda path: pq.write_table(
        pq.read_table(path).set_column(2, "seed", [["zero"] * pq.read_table(path).num_rows]), path
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("table", ["runs", "steps"])
def test_a_study_s_damaged_table_is_named(table, damage, study_file, tmp_path):  # noqa: F811
    config = study_file(seeds=1)
    add(config, BOTS, tmp_path, [0.1, 0.2])
    damage(config.results / f"{table}.parquet")
    with pytest.raises(ConfigError, match=rf"{table}\.parquet is damaged.*Put a copy of it back") as error:
        study.missing_runs(config)
    assert "\n" not in str(error.value)


def test_runs_without_their_steps_are_not_taken_for_finished(study_file, tmp_path):  # noqa: F811
    config = study_file(seeds=1)
    add(config, BOTS, tmp_path, [0.1, 0.2])
    (config.results / "steps.parquet").unlink()
    with pytest.raises(ConfigError, match=r"has 1 runs, but .*steps\.parquet is missing"):
        study.missing_runs(config)


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "pool.arrow").write_bytes((run / "pool.arrow").read_bytes()[:100]),
        lambda run: (run / "pool.arrow").write_bytes(b""),
        lambda run: (run / "rollouts" / "000001.parquet").write_bytes(b"half"),
        lambda run: (run / "metrics.jsonl").unlink(),
        lambda run: (run / "metrics.jsonl").write_text('{"step": 1}\n'),
        lambda run: pq.write_table(
            pq.read_table(run / "rollouts" / "000001.parquet").slice(3), run / "rollouts" / "000001.parquet"
        ),
        lambda run: pq.write_table(
            pq.read_table(run / "rollouts" / "000001.parquet").drop_columns(["task"]),
            run / "rollouts" / "000001.parquet",
        ),
        lambda run: (run / "config.yaml").write_bytes(b"\xff\xfe run: [" * 3),
    ],
)
def test_a_fit_names_a_damaged_run_in_one_line(damage, recorded, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(recorded, run)
    damage(run)
    assert main(["simulate", "--fit", str(run), "--into", str(tmp_path / "fit")]) == 2
    said = capsys.readouterr().err
    assert str(run) in said
    assert "Traceback" not in said
    assert not (tmp_path / "fit").exists()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    from bots.simulation import Law

    folder = tmp_path_factory.mktemp("recorded") / "run"
    record(folder, Law(rate=0.6), steps=3)
    return folder


GRID = "tune_configs/sim_grid.yaml"


@pytest.mark.parametrize("content", [b"", b"[]", b"half: [", b"\xff\xfe\x00", b"other: 1"])
def test_a_sweep_of_a_damaged_file_is_refused_before_ray_starts(content, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.tune.ray_session", None)
    sweep = load_sweep(GRID, [f"sweep.folder={tmp_path}", "sweep.name=s"])
    folder = create_folder(sweep, resume=False, overwrite=False)
    (folder / "sweep.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"sweep.yaml cannot be read.*--overwrite"):
        run_sweep(sweep, QUIET, resume=True)
    assert (folder / "sweep.yaml").read_bytes() == content


def test_a_sweep_whose_state_is_damaged_is_named(tmp_path):
    from pipelines.sweeps.tuner import STATE, restored_tuner

    sweep = load_sweep(GRID, [f"sweep.folder={tmp_path}", "sweep.name=s"])
    (tmp_path / "s" / STATE).mkdir(parents=True)
    (tmp_path / "s" / STATE / "tuner.pkl").write_bytes(b"half")
    with pytest.raises(ConfigError, match=r"s/tune is damaged, so the sweep can't be resumed.*--overwrite"):
        restored_tuner(sweep, tmp_path / "s", 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"status": ', "\udcff"])
def test_a_trial_with_a_damaged_summary_has_not_ended(text, small_job, tmp_path):
    from bots.config.tree import dump_config

    config = small_job()
    path = config.run.path
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(dump_config(config))
    (path / "metrics.jsonl").write_text(json.dumps({"step": config.run.steps}) + "\n")
    (path / "summary.json").write_text(text, errors="surrogateescape")
    assert not has_ended(config)
    (path / "summary.json").write_text('{"status": "finished"}')
    assert has_ended(config)


def test_a_second_job_is_told_whose_the_folder_is(tmp_path):
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    with folder_lock(tmp_path / "run", QUIET):
        with (
            pytest.raises(ConfigError, match=f"is alive \\({holder} locks"),
            folder_lock(tmp_path / "run", QUIET),
        ):
            pass
        (tmp_path / ".run.lock").write_bytes(b"")  # of an earlier version, or of a full disk
        with (
            pytest.raises(ConfigError, match="is alive \\(its process locks"),
            folder_lock(tmp_path / "run", QUIET),
        ):
            pass
    (tmp_path / ".run.lock").write_text("process 1 on another")  # left by a dead process: no hindrance
    with folder_lock(tmp_path / "run", QUIET):
        assert (tmp_path / ".run.lock").read_text() == holder


def test_an_error_of_the_disk_without_a_file_s_name_says_where_it_was(capsys):
    def job(console):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert run_job("pool", job) == 1
    assert "bots pool failed: [Errno 28] No space left on device (at " in capsys.readouterr().err
