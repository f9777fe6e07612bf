"""`bots simulate`: the command, its results and refusals, and the fit to runs on disk."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from actors.posterior import write_pool
from bots import BOTS
from bots.config.train import load_config
from bots.config.tree import ConfigError
from bots.simulation import Law, SimulatedLearner, World, WorldSpec, simulate
from pipelines.cli import main
from pipelines.simulate import run_simulation
from pipelines.simulations.config import load_simulation
from pipelines.simulations.results import markdown, show

SMALL = ["world.tasks=300", "run.steps=40", "run.seeds=2", "run.evaluate_every=10"]


@pytest.fixture
def small(tmp_path):
    return ["configs/sim_ablation.yaml", *SMALL, f"run.folder={tmp_path}"]


def test_the_command_leaves_a_table_curves_and_a_picture(small, tmp_path, capsys):
    assert main(["simulate", *small]) == 0
    folder = tmp_path / "sim_ablation"
    out = capsys.readouterr().out
    assert "TTB 100%" in out
    assert "rho=0.5" in out
    table = pq.read_table(folder / "results.parquet").to_pylist()
    arms = list(load_simulation("configs/sim_ablation.yaml").arms)
    assert {row["arm"] for row in table} == {"random", *arms}
    assert len(table) == 2 * (len(arms) + 1)
    assert all(row["ttb100"] == 1 and row["bsf100"] == 1 for row in table if row["arm"] == "random")
    curves = pq.read_table(folder / "curves.parquet").to_pandas()
    assert sorted(set(curves["step"])) == [0, 10, 20, 30, 40]
    # Paired: for each seed, every arm starts from the same policy on the same held-out tasks.
    assert (curves[curves["step"] == 0].groupby("seed")["score"].nunique() == 1).all()
    steps = pq.read_table(folder / "steps.parquet")
    assert steps.num_rows == len(table) * 40
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((folder / "summary.json").read_text())["bots"]["etr"]["seeds"] == 2

    again = load_simulation(folder / "simulation.yaml")
    assert again == load_simulation(small[0], small[1:]), "what was written is what was run"
    assert run_simulation(again).table().equals(pq.read_table(folder / "results.parquet"))

    assert main(["simulate", *small]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["simulate", *small, "--overwrite"]) == 0


def test_every_rival_simulates_with_what_it_needs(tmp_path):
    config = load_simulation("configs/sim_rivals.yaml", [*SMALL, "run.seeds=1", "run.steps=12"])
    results = run_simulation(config)
    found = {row["arm"]: row for row in results.table().to_pylist()}
    assert set(found) == {"random", *config.arms}
    assert found["dynamic"]["completions"] > 1.5 * found["random"]["completions"]
    assert found["speed"]["completions"] < found["dynamic"]["completions"]
    assert config.selection_of("mopps, retention").forgetting == "observation"
    assert config.selection_of("dots, similarity").evidence == "attention"
    assert config.selection_of("dps").evidence == "none"


def test_a_folder_of_something_else_is_left_alone(small, tmp_path, capsys):
    (tmp_path / "sim_ablation").mkdir()
    (tmp_path / "sim_ablation" / "thesis.tex").write_text("years of work")
    assert main(["simulate", *small, "--overwrite"]) == 2
    assert "is not a simulation's folder" in capsys.readouterr().err
    assert (tmp_path / "sim_ablation" / "thesis.tex").exists()


def test_a_file_in_the_folder_s_place_is_left_alone(small, tmp_path, capsys):
    (tmp_path / "sim_ablation").write_text("years of work")
    assert main(["simulate", *small, "--overwrite"]) == 2
    assert "sim_ablation cannot be written" in capsys.readouterr().err
    assert (tmp_path / "sim_ablation").read_text() == "years of work"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("selection.lam=1.5", "selection.lam"),
        ("law.speed=1", "speed: no such key; there are rate"),
        ("law.transfer=0", "transfer is 0"),
        ("world.missing=2", "missing is 2"),
        ("world.difficulty_sd=true", "world.difficulty_sd: must be a number, not true or false"),
        ("world.weak={math: .nan}", r"weak\.math is nan; it must be a finite number"),
        ("law.rate=.inf", "rate is inf; it must be a finite number"),
        ("law.warmup=false", "law.warmup: must be a number, not true or false"),
        ("arms.bots.lambda=1", "lambda: no such key"),
        ("arms.mopps.lam=0.5", "mopps"),
        ("arms.random.selector=greedy", "arms.random is the baseline"),
        ("rollout.samples=1", "rollout.samples"),
        ("selection.tasks=20000", "batch is 20000"),
        ("world.weak.math=1", "weak is -0.5|is a value, not a section"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_key_and_value(override, said):
    given = ["world.weak=-0.5"] if "weak" in override else []
    with pytest.raises(ConfigError, match=said):
        load_simulation("configs/sim_ablation.yaml", [*given, override])


def test_an_arm_brings_what_defines_it():
    config = load_simulation("configs/sim_lab.yaml", ["selection.lam=0.3", "selection.p_star=0.6"])
    assert config.selection_of("greedy").lam == 0.3
    assert (config.selection_of("mopps").lam, config.selection_of("mopps").rho) == (0.0, 0.0)
    assert config.selection_of("dots").lam == 1.0
    assert config.selection_of("mopps").p_star == 0.6
    assert config.selection_of("random").selector == "random"


@pytest.mark.parametrize("shared", [[], ["selection.adaptor=predictive"]])
def test_an_arm_tunes_itself_unless_it_gives_lam_or_rho(shared):
    arms = ["arms.plain={}", "arms.slow={lam: 0.02}", "arms.near={p_star: 0.4}", *shared]
    config = load_simulation("configs/sim_lab.yaml", arms)
    tuned = [arm for arm in ("random", *config.arms) if config.selection_of(arm).adaptor]
    assert tuned == ["self-tuned", "default", "plain", "near"]


def test_a_ttb_that_was_never_reached_is_counted():
    results = run_simulation(load_simulation("configs/sim_ablation.yaml", SMALL)).table()
    index = results.column_names.index("ttb100")
    never = results.set_column(index, "ttb100", pa.array([np.inf] * results.num_rows))
    assert "2/2 never" in markdown(never)
    assert show(never).row_count == len(set(results["arm"].to_pylist()))


def record(folder, law, steps=50):
    """A folder like a training job's, in which the simulated learner was trained."""
    spec = WorldSpec(tasks=400, domains={"math": 1, "logic": 1}, domain_gap=1.0)
    world, n = World(spec, 0), 8
    learner, bots = SimulatedLearner(world, law, 0), BOTS(world.pool, rollouts=n)
    (folder / "rollouts").mkdir(parents=True)
    write_pool(world.pool, folder / "pool.arrow")
    overrides = [
        f"run.steps={steps}",
        "pool.sources.0.size=400",
        f"run.name={folder.name}",
        "learner.warmup_steps=0",
    ]
    tree = load_config("configs/lab.yaml", overrides).model_dump(mode="json")
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    ids = np.array(world.pool.ids())
    records = [{"step": 0, "score": learner.score()}]
    for step in range(1, steps + 1):
        rows = bots.select(32)
        rewards = learner.generate(rows, n)
        bots.observe(rows, rewards)
        learner.learn(rows, rewards)
        rollouts = {
            "step": np.full(32 * n, step, np.int32),
            "task": np.repeat(ids[rows], n),
            "reward": rewards.ravel(),
        }
        pq.write_table(pa.table(rollouts), folder / "rollouts" / f"{step:06d}.parquet")
        etr = float(np.mean(rewards.min(1) < rewards.max(1)))
        records.append({"step": step, "etr": etr, "reward": float(rewards.mean()), "score": learner.score()})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


def test_a_fit_is_replaced_only_when_there_is_a_new_one(tmp_path, capsys):
    into = tmp_path / "fit"
    into.mkdir()
    (into / "fit.json").write_text("hours of training")
    again = ["simulate", "--into", str(into), "--overwrite", "--fit"]
    assert main([*again, str(tmp_path / "typo")]) == 2
    assert "typo is not the folder of a train job" in capsys.readouterr().err
    assert (into / "fit.json").read_text() == "hours of training"
    record(tmp_path / "run", Law(rate=0.6), steps=4)
    (into / "left.over").touch()
    assert main([*again, str(tmp_path / "run")]) == 0
    assert set(json.loads((into / "fit.json").read_text())["runs"]) == {"run"}
    assert not (into / "left.over").exists()
    assert main([*again[:2], str(into / "fit.json"), *again[3:], str(tmp_path / "run")]) == 2
    assert "is a file; choose a folder with --into" in capsys.readouterr().err


def test_the_fit_to_a_run_behaves_like_the_run(tmp_path, capsys):
    record(tmp_path / "run", Law(rate=0.6))
    into = tmp_path / "fit"
    assert main(["simulate", "--fit", str(tmp_path / "run"), "--into", str(into)]) == 0
    errors = json.loads((into / "fit.json").read_text())["runs"]["run"]
    assert errors["used_in_the_fit"]
    assert errors["score_range"] > 0.1
    assert errors["score_rmse"] < 0.4 * errors["score_range"]
    assert (into / "fit.png").read_bytes()[:4] == b"\x89PNG"
    config = load_simulation(into / "simulation.yaml", ["run.steps=5"])
    assert simulate(config.simulation(config.selection), 0).etr.shape == (5,)

    capsys.readouterr()
    shutil.rmtree(tmp_path / "run" / "rollouts")
    assert main(["simulate", "--fit", str(tmp_path / "run"), "--into", str(tmp_path / "other")]) == 2
    assert "kept no rollouts" in capsys.readouterr().err
    assert main(["simulate", "--fit", str(tmp_path), "--into", str(tmp_path / "other")]) == 2
    assert "not the folder of a train job" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
