"""Simulated sweeps end to end on a real Ray Tune: results, early stopping, resuming after a kill."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray.tune.experiment import Trial
from rich.console import Console

from bots.metrics import mean_interval
from bots.simulation import simulate
from pipelines.cli import main
from pipelines.shared.resources import ResourceError
from pipelines.simulations.config import load_simulation
from pipelines.sweeps.config import load_sweep
from pipelines.sweeps.search import make_scheduler
from pipelines.sweeps.trials import baselines
from pipelines.sweeps.turns import Turns
from pipelines.tune import run_sweep
from tests.waiting import PATIENCE_S, wait_for

pytestmark = pytest.mark.ray

GRID, OPTUNA = "tune_configs/sim_grid.yaml", "tune_configs/sim_optuna.yaml"
QUICK = ["base.run.steps=30", "base.run.seeds=3", "base.world.tasks=400", "base.run.evaluate_every=10"]


def run(sweep, **flags):
    return run_sweep(sweep, Console(file=io.StringIO()), **flags)


def is_png(path):
    return path.read_bytes()[:4] == b"\x89PNG"


def test_a_grid_gives_all_points_the_best_configuration_and_pictures(cluster, tmp_path):
    given = [
        *QUICK,
        f"sweep.folder={tmp_path}",
        "space.selection.lam=[0.0, 0.1]",
        "space.selection.rho=[0.0, 0.1]",
    ]
    sweep = load_sweep(GRID, given)
    results = run(sweep)
    folder = tmp_path / "sim_grid"
    table = pq.read_table(folder / "trials.parquet").to_pylist()
    points = {(row["selection.lam"], row["selection.rho"]) for row in table}
    assert points == {(a, b) for a in (0.0, 0.1) for b in (0.0, 0.1)}
    assert {row["status"] for row in table} == {"finished"}

    random = baselines(sweep.job({}))
    # The trials under Ray give the same results as the simulator without Ray.
    for row in table:
        point = {key: row[key] for key in sweep.config.space}
        config = sweep.job(point)
        simulation = config.simulation(config.selection)
        means = [simulate(simulation, seed).curve.scores.mean() for seed in config.seeds]
        gains = np.subtract(means, [trace.curve.scores.mean() for trace in random])
        assert row["per_seed"] == pytest.approx(gains, abs=1e-12)
        assert row["gain"] == pytest.approx(gains.mean())
        assert row["mean_score"] == pytest.approx(np.mean(means))

    best = load_simulation(folder / "best.yaml")
    winner = max(table, key=lambda row: row["gain"])
    assert (best.selection.lam, best.selection.rho) == (winner["selection.lam"], winner["selection.rho"])
    assert best.law == sweep.job({}).law
    assert best.run.steps == 30
    assert results.at_base().point == {"selection.lam": 0.1, "selection.rho": 0.1}
    if winner["selection.lam"] == winner["selection.rho"] == 0.1:
        assert results.best_against_base().mean == 0
    base = next(r for r in table if r["selection.lam"] == r["selection.rho"] == 0.1)
    difference = np.subtract(winner["per_seed"], base["per_seed"])
    assert results.best_against_base() == mean_interval(difference)

    curves = pq.read_table(folder / "curves.parquet").to_pandas()
    assert sorted(set(curves["step"])) == [0, 10, 20, 30]
    assert all(is_png(folder / name) for name in ("heatmap.png", "parallel.png", "curves.png"))


def test_optuna_searches_and_asha_stops_on_seeds(cluster, tmp_path):
    given = [
        *QUICK,
        f"sweep.folder={tmp_path}",
        "search.trials=9",
        "scheduler.grace=1",
        "search.concurrent=3",
    ]
    results = run(load_sweep(OPTUNA, given))
    assert len(results.trials) == 9
    assert results.trials[0].point == results.sweep.base_point(), "the base's values are tried first"
    points = {tuple(t.point.values()) for t in results.trials}
    assert len(points) == 9
    for t in results.trials:
        assert 0.3 <= t.point["selection.p_star"] <= 0.7
        assert len(t.per_seed) == t.metrics["step"]
    statuses = [t.status for t in results.trials]
    assert "finished" in statuses
    assert "stopped" in statuses
    assert all(t.metrics["step"] < 3 for t in results.trials if t.status == "stopped")
    best = load_simulation(tmp_path / "sim_optuna" / "best.yaml")
    assert (
        best.selection.evidence_options["gamma"]
        == results.ranked()[0].point["selection.evidence_options.gamma"]
    )


def test_a_trial_that_fails_is_named_and_the_others_go_on(cluster, tmp_path):
    # The simulator's pools have no such column, and only the evidence itself can find that out.
    given = [*QUICK, f"sweep.folder={tmp_path}", "space.selection.rho=null", "space.selection.lam=null"]
    given += ["space.selection.evidence=[interpolation, neighbours]"]
    results = run(load_sweep(GRID, given))
    status = {t.point["selection.evidence"]: t for t in results.trials}
    assert status["interpolation"].status == "finished"
    assert status["neighbours"].status == "failed"
    assert "column" in status["neighbours"].error
    assert len(results.ranked()) == 1


def test_a_sweep_of_which_no_trial_finishes_has_failed(cluster, tmp_path, capsys):
    given = [*QUICK, f"sweep.folder={tmp_path}", "space.selection.rho=null", "space.selection.lam=null"]
    assert main(["tune", GRID, *given, "space.selection.evidence=[neighbours]"]) == 1
    assert "no trial finished" in capsys.readouterr().err


def test_a_metric_that_is_infinite_in_every_trial_is_named(cluster, tmp_path, capsys):
    # A learning law so slow that neither a trial nor random selection makes progress.
    given = ["base.run.steps=2", "base.run.seeds=2", "base.world.tasks=400", "base.run.evaluate_every=1"]
    given += [f"sweep.folder={tmp_path}", "space.selection.lam=[0.1]", "space.selection.rho=[0.1]"]
    assert main(["tune", GRID, *given, "search.metric=ttb100"]) == 1
    assert "no trial has a finite ttb100; try another search.metric" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_that_is_interrupted_stopped_and_killed_goes_on_each_time(cluster, tmp_path):
    """Ctrl-C, then SIGTERM, then SIGKILL to one and the same sweep, each time as soon as another trial has finished."""
    lams = [0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0]
    given = ["base.run.steps=800", "base.run.seeds=2", f"sweep.folder={tmp_path}"]
    given += ["space.selection.rho=[0.1]", f"space.selection.lam={lams}"]
    folder = tmp_path / "sim_grid"
    for number in (signal.SIGINT, signal.SIGTERM):
        out, err = ended_amid(given, folder, number)
        assert "The sweep was interrupted; --resume continues it." in out
        assert "interrupted; all processes have ended, results so far are kept" in err
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["interrupted"]
        assert summary["finished"] >= 1
        assert summary["unfinished"] >= 1
        assert summary["stopped"] == summary["failed"] == 0
        assert "of the sweep sim_grid, which was interrupted" in (folder / "best.yaml").read_text()
    ended_amid(given, folder, signal.SIGKILL)
    before = {path: path.read_text() for path in finished(folder / "tune")}
    assert 3 <= len(before) < len(lams)

    results = run(load_sweep(GRID, [*given, "search.concurrent=1"]), resume=True)
    assert not results.interrupted
    assert sorted(t.point["selection.lam"] for t in results.trials) == lams
    assert {t.status for t in results.trials} == {"finished"}
    kept = [path for path, text in before.items() if path.read_text() == text]
    # The state on disk may be older than the newest results; their trials then run again.
    assert len(kept) >= len(before) - 2
    assert not json.loads((folder / "summary.json").read_text())["interrupted"]


def ended_amid(given, folder, number):
    """Start a sweep or continue it, and signal it when it has finished one more trial; returns what it says."""
    # A shell may have told its background children to ignore Ctrl-C.
    begin = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-c", begin + "from pipelines.cli import main; sys.exit(main(sys.argv[1:]))"]
    command += ["tune", GRID, *given, "search.concurrent=2", *(["--resume"] if folder.exists() else [])]
    done = len(finished(folder / "tune"))
    # Not pipes: what a killed sweep started would hold them open for a while.
    said = folder.with_name(f"{number.name}.out"), folder.with_name(f"{number.name}.err")
    with said[0].open("w") as out, said[1].open("w") as err:
        process = subprocess.Popen(
            command,
            # Then the state that `finished` reads is no older than a trial takes.
            env={**os.environ, "TUNE_GLOBAL_CHECKPOINT_S": "0.2", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            stdout=out,
            stderr=err,
        )
    wait_for(
        lambda: len(finished(folder / "tune")) > done or process.poll() is not None, "another trial to finish"
    )
    assert process.poll() is None, "it was to be ended in the middle"
    # SIGTERM is for the sweep alone, the others for all that it started.
    process.send_signal(number) if number == signal.SIGTERM else os.killpg(process.pid, number)
    process.wait(PATIENCE_S)
    out, err = (path.read_text() for path in said)
    assert process.returncode == (-number if number == signal.SIGKILL else 130), err
    return out, err


def test_more_than_the_cluster_has_is_refused_at_once(cluster, tmp_path):
    with pytest.raises(ResourceError, match=r"asks for 500 CPU = 1 x 500 \(simulation\); the cluster has 8"):
        run(load_sweep(GRID, [f"sweep.folder={tmp_path}", "search.cpus=500"]))
    assert not (tmp_path / "sim_grid").exists()


def test_of_a_resumed_sweep_s_trials_no_more_start_than_fit_now(tmp_path):
    trials, controller = [], SimpleNamespace(get_trials=lambda: trials)
    scheduler = make_scheduler(load_sweep(GRID), 1, tmp_path)
    for _ in range(3):
        trials.append(Trial("trial", stub=True))
        scheduler.on_trial_add(controller, trials[-1])
    assert [trial.status for trial in trials] == ["PENDING", "PAUSED", "PAUSED"]
    assert scheduler.choose_trial_to_run(controller) is trials[0]
    trials[0].set_status("RUNNING")
    assert scheduler.choose_trial_to_run(controller) is None
    trials[0].set_status("TERMINATED")
    assert scheduler.choose_trial_to_run(controller) is trials[1]


def finished(state: Path) -> list[Path]:
    """Result files of trials that have reported."""
    return [path for path in state.glob("*/result.json") if path.read_text().endswith("\n")]


def test_turns_are_limited_and_those_of_the_dead_come_free(cluster):
    turns = Turns.remote(2, lease_seconds=0.3)
    take = lambda name: ray.get(turns.take.remote(name))  # noqa: E731
    assert [take("a"), take("b"), take("c"), take("a")] == [True, True, False, True]
    group = ray.get(turns.group.remote("b", [{"CPU": 1}]))
    assert group.wait(30)
    ray.get(turns.give.remote("b"))
    assert ray.util.placement_group_table(group)["state"] == "REMOVED", "a turn's places go with it"
    assert take("c")
    time.sleep(0.4)
    assert [take("d"), take("e"), take("a")] == [True, True, False]


def test_a_killed_sweep_s_places_are_not_in_the_way_of_the_one_that_goes_on(cluster):
    """Ray takes its time to end a killed driver's processes: until then, a trial of that name has two groups."""
    killed, resumed = Turns.remote(1), Turns.remote(1)
    groups = [ray.get(turns.group.remote("85e14_00000", [{"CPU": 1}])) for turns in (killed, resumed)]
    tables = [ray.util.placement_group_table(group) for group in groups]
    assert all(group.wait(30) for group in groups)
    assert all(table["name"].startswith("85e14_00000/engines") for table in tables), (
        "whose they are can be seen"
    )
    ray.get([turns.give.remote("85e14_00000") for turns in (killed, resumed)])
