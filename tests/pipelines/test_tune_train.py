"""Sweeps of real train jobs: early stopping, refusal, and population-based training that passes the posterior on."""

import io
import json

import numpy as np
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from bots import BOTS, TaskPool
from bots.config import load_config
from bots.config_tree import ConfigError
from pipelines.checkpoint import POSTERIOR
from pipelines.summary import read_metrics
from pipelines.train import train
from pipelines.tune import run_sweep
from pipelines.tune_config import load_sweep
from pipelines.tune_exploit import adopt, newest_checkpoint, run_of_checkpoint
from pipelines.tune_plan import trial_demand

SMALL = [
    "base.run.steps=3",
    "base.pool.sources.0.size=200",
    "base.selection.tasks=8",
    "base.rollout.samples=4",
    "base.rollout.engines=1",
    "base.learner.ranks=1",
    "base.evaluation.pool.sources.0.size=40",
    "base.evaluation.every=1",
]


def run(sweep):
    return run_sweep(sweep, Console(file=io.StringIO()))


@pytest.mark.slow
def test_asha_over_real_training(cluster, tmp_path):
    given = [*SMALL, f"sweep.folder={tmp_path}", "scheduler.grace=1", "scheduler.reduction=2"]
    # Two trials take the last CPU of the cluster's eight; the third has to wait for one of them to end.
    given += ["base.rollout.cpus=2", "base.learner.cpus=2", "base.run.steps=2"]
    given += ["space.selection.lam=[0.1, 0.3, 0.5]", "space.selection.rho=null"]
    sweep = load_sweep("tune_configs/lab_asha.yaml", given)
    assert trial_demand(sweep).concurrent({"CPU": 8}, None) == 2
    results = run(sweep)
    assert sorted(t.point["selection.lam"] for t in results.trials) == [0.1, 0.3, 0.5]
    assert "finished" in {t.status for t in results.trials}
    for t in results.trials:
        assert t.status in ("finished", "stopped"), t.error
        folder = tmp_path / "lab_asha" / "trials" / t.name
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["selection"]["lam"] == t.point["selection.lam"]
        scores = [record["score"] for record in read_metrics(folder) if "score" in record]
        assert t.curve["score"] == scores[: len(t.curve["score"])]
        if t.status == "finished":
            assert len(scores) == 3
            assert t.figures["mean_score"] == pytest.approx(np.mean(scores))
    best = load_config(tmp_path / "lab_asha" / "best.yaml")
    assert best.selection.lam == results.ranked()[0].point["selection.lam"]
    assert best.run.name == "lab_asha_best"
    table = pq.read_table(tmp_path / "lab_asha" / "trials.parquet")
    assert set(table.column_names) >= {"trial", "selection.lam", "score", "status", "tokens", "error"}


def beliefs(run_folder):
    """The posterior of a run's newest checkpoint."""
    with ipc.open_file(str(run_folder / "pool.arrow")) as file:
        pool = TaskPool.from_arrow(file.read_all(), "weak", "strong")
    bots = BOTS.load(newest_checkpoint(run_folder) / POSTERIOR, pool)
    return bots


@pytest.mark.slow
def test_an_adopted_run_has_the_donors_posterior_and_its_own_values(finished_run, small_job):
    donor, _ = finished_run
    changes = ("run.steps=4", "selection.lam=0.4", "selection.rho=0.3", "learner.lr=5e-4")
    own = small_job(*changes, "run.checkpoint_every=1", name="own")
    with run_of_checkpoint(donor.run.path) as source:
        copy = type(donor.run.path)(source)
        adopt(copy, own)
    before, after = beliefs(donor.run.path), beliefs(own.run.path)
    for name in before.table().column_names:
        one, two = (bots.table()[name].to_numpy() for bots in (before, after))
        assert one.tobytes() == two.tobytes() if one.dtype != object else (one == two).all(), name
    assert (before.lam, before.rho) == (0.1, 0.1)
    assert (after.lam, after.rho) == (0.4, 0.3)
    assert np.array_equal(after.select(8), before.select(8)), "the random numbers are the donor's too"
    assert load_config(own.run.path / "config.yaml") == own

    train(own, resume=True)
    records = read_metrics(own.run.path)
    assert [record["step"] for record in records] == [0, 1, 2, 3, 4]
    assert [r["weights"] for r in records[:4] if "weights" in r] == [
        r["weights"] for r in read_metrics(donor.run.path) if "weights" in r
    ]
    assert records[-1]["posterior/lam"] == 0.4
    assert records[-1]["lr"] == pytest.approx(5e-4 * 4 / own.learner.warmup_steps)
    lineage = json.loads((own.run.path / "lineage.jsonl").read_text())
    assert lineage == {"from": "finished", "step": 3}
    # The donor's files are untouched.
    assert beliefs(donor.run.path).lam == 0.1


@pytest.mark.slow
def test_a_population_passes_checkpoints_on(cluster, tmp_path):
    given = [
        *SMALL,
        f"sweep.folder={tmp_path}",
        "scheduler.interval=1",
        "search.trials=2",
        "search.concurrent=2",
    ]
    given += ["base.run.steps=2", "space.learner.lr=null", "search.metric=etr"]
    results = run(load_sweep("tune_configs/pbt.yaml", given))
    assert {t.status for t in results.trials} == {"finished"}, [t.error for t in results.trials]
    folder = tmp_path / "pbt" / "trials"
    lineages = list(folder.glob("*/lineage.jsonl"))
    assert len(lineages) == 1, "of two, the worse one takes over the better"
    origin = json.loads(lineages[0].read_text())
    heir, donor = lineages[0].parent, folder / origin["from"]
    assert origin["step"] == 1
    weights = [[r.get("weights") for r in read_metrics(path)] for path in (heir, donor)]
    assert weights[0][1] == weights[1][1], "the heir's first step is the donor's"
    assert load_config(heir / "config.yaml").selection.lam != load_config(donor / "config.yaml").selection.lam


def test_a_run_without_a_checkpoint_cannot_be_adopted(small_job, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no checkpoint to go on from"):
        adopt(tmp_path / "empty", small_job())
