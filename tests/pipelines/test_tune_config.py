"""A sweep's configuration: what is refused, and with which message, before Ray starts."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

from bots import AnchorPrior
from bots.config.tree import ConfigError
from pipelines.cli import main
from pipelines.shared.resources import ResourceError
from pipelines.sweeps.config import load_sweep
from pipelines.sweeps.resources import trial_demand
from pipelines.sweeps.results import SweepResults, Trial
from pipelines.sweeps.run_folder import create_folder
from pipelines.sweeps.space import Range, points
from pipelines.sweeps.trials import DRIVER

SWEEPS = sorted(Path("tune_configs").glob("*.yaml"))
GRID, LAB, PBT = (f"tune_configs/{name}.yaml" for name in ("sim_grid", "lab_asha", "pbt"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_that_is_shipped_is_valid_and_tries_its_base(path):
    sweep = load_sweep(path)
    assert sweep.base_point() is not None
    assert sweep.config.sweep.name == path.stem
    trial_demand(sweep)


@pytest.mark.parametrize(
    ("path", "override", "said"),
    [
        (GRID, "space.selection.lambda=[0.1]", r"selection.lambda: no such key"),
        (GRID, "space.selection.lam", r"'selection.lam' is not of the form section.key=value"),
        (GRID, "space.selection.lam=[0.1", r"its value is not YAML"),
        (GRID, "space.selection.lam=[]", r"space.selection.lam: values is empty"),
        (GRID, "space.selection.lam={uniform: [0.5, 0.5]}", r"uniform is \[0.5, 0.5\], an empty range"),
        (GRID, "space.selection.lam={loguniform: [0, 1]}", r"the first must be above 0"),
        (GRID, "space.selection.lam={integer: [3, 1]}", r"integer is \[3, 1\], an empty range"),
        (
            GRID,
            "space.selection.lam={uniform: [0, 1]}",
            r"method is grid, but selection.lam has no values",
        ),
        (GRID, "space.selection.lam={between: [0, 1]}", r"between: no such key"),
        (GRID, "space.selection.lam=[0.1, 1.5]", r"space.selection.lam: 1.5 is not possible"),
        (GRID, "space.selection.lam=[0.1, 0.1]", r"each may be there once"),
        (GRID, "space.selection.lam=[1e-1, 0.1]", r"values is \[0.1, 0.1\]; each may be there once"),
        (GRID, "space.selection.lam=null; space.selection.rho=null", r"space is empty"),
        (
            GRID,
            "space.selection.evidence_options.gama=[0.9]",
            r"gama: no such key; evidence 'auto' takes",
        ),
        (GRID, "space.run.name=[a, b]", r"the sweep names its trials itself"),
        (GRID, "search.metric=accuracy", r"search.metric is 'accuracy'; target simulate has gain"),
        (GRID, "scheduler.kind=asha; search.metric=score", r"asha compares trials after different seeds"),
        (GRID, "scheduler.kind=pbt", r"a simulation has none"),
        (GRID, "base.run.seeds=1", r"one seed is one draw"),
        (GRID, "base.law.speed=1", r"speed: no such key"),
        (LAB, "space.learner.ranks=[2, 300]", r"(?s)300 is not possible.*learner.ranks = 300"),
        (LAB, "base.evaluation.pool=null", r"evaluation.pool is not set"),
        (PBT, "space.selection.tasks=[8, 16]", r"a running job cannot change"),
        (PBT, "scheduler.interval=200", r"before the first decision"),
    ],
)
def test_refusals_name_the_key_the_value_and_what_is_allowed(path, override, said):
    with pytest.raises(ConfigError, match=said):
        load_sweep(path, override.split("; "))


def test_the_command_line_refuses_before_ray_starts(capsys):
    before = ray.is_initialized()
    assert main(["tune", GRID, "search.metric=accuracy"]) == 2
    assert "search.metric" in capsys.readouterr().err
    assert main(["tune", "tune_configs/nothing.yaml"]) == 2
    assert ray.is_initialized() == before


def test_a_dry_run_prints_the_sweep_the_job_and_the_plan_and_checks_the_job(capsys, tmp_path):
    given = ["tune", LAB, "--dry-run", "base.pool.sources.0.size=64"]
    assert main([*given, "base.rollout.max_tokens=48"]) == 0
    out = capsys.readouterr().out
    assert "loguniform" not in out
    assert "max_tokens: 48" in out
    assert "one trial: in all 2 CPU" in out
    assert "# pool: 64 tasks" in out

    assert main([*given, f"base.model.path={tmp_path / 'qwen'}"]) == 2
    said = capsys.readouterr()
    assert "one trial: in all 2 CPU" in said.out, "the plan can be read where the model is out of reach"
    assert f"model.path: there is no folder {tmp_path / 'qwen'}" in said.err


def test_it_is_said_where_no_trial_tunes_itself_as_the_base_does(capsys):
    assert main(["tune", GRID, "--dry-run"]) == 0
    said = (
        "# the base tunes λ and ρ during the run (selection.adaptor), the trials keep them fixed; it takes its "
        "prior from reference pass rates where there are any, the trials have [1, 1]; compare the best with"
    )
    assert (
        f"{said} the base itself: bots simulate {Path('configs/sim_lab.yaml').absolute()}"
        in capsys.readouterr().out
    )
    assert load_sweep(GRID, ["base.selection.adaptor=null"]).note is None, "nor does the base"
    aims = ["space.selection.lam=null", "space.selection.rho=null", "space.selection.p_star=[0.4, 0.5]"]
    assert load_sweep(LAB, aims).note is None, "so do the trials"
    some = [*aims[:2], "space.selection.selector=[random, bots]"]
    assert load_sweep(LAB, some).note is None, "so does one of the trials"
    prior = "the base takes its prior from reference pass rates where there are any, the trials have [1, 1]; compare"
    gamma = [*aims[:2], "space.selection.evidence_options.gamma=[0.5, 0.9]"]
    assert load_sweep(LAB, gamma).note.startswith(prior), "each trial tunes itself"
    assert load_sweep(LAB, [*gamma, "base.selection.prior={strength: 8}"]).note is None


def test_a_key_inside_a_prior_can_be_swept():
    """Also where the base has a word in its place."""
    aims = ["space.selection.lam=null", "space.selection.rho=null", "space.selection.prior.strength=[4, 8]"]
    sweep = load_sweep(LAB, aims)
    assert sweep.job({"selection.prior.strength": 4.0}).selection.prior == AnchorPrior(4)


def test_concurrency_follows_from_the_resources():
    demand = trial_demand(load_sweep("tune_configs/guru_math_1.5b.yaml"))
    assert demand.concurrent({"CPU": 64, "GPU": 32}, None) == 4
    assert demand.concurrent({"CPU": 64, "GPU": 31}, None) == 3
    assert demand.concurrent({"CPU": 64, "GPU": 32}, 2) == 2
    with pytest.raises(
        ResourceError, match=r"8 GPU = 4 x 1 \(rollout engine\) \+ 4 x 1 \(learner rank\).* has 4\b"
    ):
        demand.concurrent({"CPU": 64, "GPU": 4}, None)
    # The largest trial counts, including engines that would join later.
    varied = load_sweep(LAB, ["base.rollout.min_engines=1", "space.rollout.engines=[2, 6]"])
    assert trial_demand(varied).total == {"CPU": 4.0, "GPU": 0.0}
    placed = trial_demand(load_sweep(LAB, ["base.rollout.resources={rollout: 1}", "base.rollout.engines=2"]))
    assert placed.concurrent({"CPU": 64, "rollout": 7}, None) == 3, "so do resources of one's own"
    assert not set(DRIVER) & set(placed.total), "a trial's driver takes nothing of what jobs are planned with"
    assert trial_demand(load_sweep(GRID)).concurrent({"CPU": 6}, None) == 6


def test_points_cover_every_combination_or_every_value():
    small = {"a": Range(values=[1, 2]), "b": Range(uniform=(0.0, 1.0))}
    assert len(list(points(small))) == 4
    large = {str(i): Range(values=list(range(20))) for i in range(5)}
    assert len(list(points(large))) == 100


def test_values_are_what_the_job_makes_of_them():
    # YAML reads 1e-4 as text.
    space = load_sweep(LAB, ["space.learner.lr=[1e-4, 3.0e-4, 1]"]).config.space
    assert space["learner.lr"].values == [0.0001, 0.0003, 1.0]
    mixed = ["space.selection.prior=[anchors, [1, 1]]", "space.selection.dynamic=[null, {rounds: 2}]"]
    space = load_sweep(LAB, mixed).config.space
    assert space["selection.prior"].values == ["anchors", [1.0, 1.0]]
    assert space["selection.dynamic"].values == [None, {"rounds": 2}]


def test_values_of_several_kinds_are_written_as_json_text(tmp_path):
    space = ["space.selection.prior=[anchors, [1, 1]]", "space.selection.dynamic=[null, {}]"]
    space += ["space.learner.lr=[1e-4, 3.0e-4]", "space.selection.lam=null", "space.selection.rho=null"]
    sweep = load_sweep(LAB, space)
    curve = {"step": [0, 10], "score": [0.1, 0.2]}
    trials = [
        Trial(str(i), {"selection.prior": prior, "selection.dynamic": dynamic, "learner.lr": lr}, {"best_score": 0.2},
              [], curve, "finished", 1.0, None)
        for i, (prior, dynamic, lr) in enumerate([("anchors", None, 0.0001), ([1.0, 1.0], {}, 0.0003)])
    ]  # fmt: skip
    SweepResults(sweep, trials).write(tmp_path)
    rows = pq.read_table(tmp_path / "trials.parquet").to_pylist()
    assert [row["selection.prior"] for row in rows] == ['"anchors"', "[1.0, 1.0]"]
    assert [row["selection.dynamic"] for row in rows] == ["null", "{}"]
    assert [row["learner.lr"] for row in rows] == [0.0001, 0.0003]


def test_the_best_is_on_disk_before_the_tables(tmp_path, monkeypatch):
    sweep = load_sweep(GRID)
    point = {"selection.lam": 0.1, "selection.rho": 0.1}
    trial = Trial("a", point, {"gain": 0.2}, [0.2], {"step": [0], "score": [0.1]}, "finished", 1.0, None)

    def fails(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SweepResults, "table", fails)
    with pytest.raises(OSError, match="No space"):
        SweepResults(sweep, [trial]).write(tmp_path)
    assert (tmp_path / "best.yaml").exists()
    assert json.loads((tmp_path / "summary.json").read_text())["best"]["point"] == point


def test_folders_of_others_are_left_alone(tmp_path):
    given = [f"sweep.folder={tmp_path}"]
    sweep = load_sweep(GRID, given)
    with pytest.raises(ConfigError, match="nothing to resume"):
        create_folder(sweep, resume=True, overwrite=False)
    folder = create_folder(sweep, resume=False, overwrite=False)
    with pytest.raises(ConfigError, match=r"--resume.*--overwrite"):
        create_folder(sweep, resume=False, overwrite=False)
    assert (
        create_folder(load_sweep(GRID, [*given, "search.concurrent=1"]), resume=True, overwrite=False)
        == folder
    )
    for change, said in (
        ("search.metric=score", "tune.search.metric was 'gain', now it is 'score'"),
        ("base.run.steps=7", "job.run.steps was 150, now it is 7"),
    ):
        with pytest.raises(ConfigError, match=f"belongs to another sweep: {said}"):
            create_folder(load_sweep(GRID, [*given, change]), resume=True, overwrite=False)
    for damage in (b"tune: [", b"tune: \xff"):
        (folder / "sweep.yaml").write_bytes(damage)
        with pytest.raises(ConfigError, match=r"(?s)sweep\.yaml cannot be read.*--overwrite"):
            create_folder(sweep, resume=True, overwrite=False)
    assert create_folder(sweep, resume=False, overwrite=True) == folder
    (tmp_path / "file").touch()
    for flags in ({"resume": True, "overwrite": False}, {"resume": False, "overwrite": True}):
        with pytest.raises(ConfigError, match=r"file is a file, not a sweep's folder"):
            create_folder(load_sweep(GRID, [*given, "sweep.name=file"]), **flags)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not a sweep's folder"):
        create_folder(load_sweep(GRID, [*given, "sweep.name=mine"]), resume=False, overwrite=True)
