"""Real TRL trainers on the lab's model: what they train on, learn, log, save and resume is what BOTS selected."""

import copy
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="TRL is not installed; `make peers` installs it")

from transformers import TrainerCallback
from trl import GRPOTrainer, RLOOConfig

from bots import BOTS, PoolError, SnapshotError, TaskPool
from bots.adapters.trl import BOTSGRPOTrainer, BOTSMixin, BOTSRLOOTrainer
from bots.lab.checkpoints import checkpoint_path, load
from tests.bots.adapters.trl_run import N, config, lab_dataset, posterior, right, trainer

REPO = Path(__file__).parents[3]


class Seen:
    """A reward function that remembers the ids of each call."""

    __name__ = "seen"

    def __init__(self, grade=right):
        self.calls, self.grade = [], grade

    def __call__(self, prompts, completions, id, **columns):
        self.calls.append(list(id))
        return self.grade(prompts, completions, **columns)


def losses(one):
    return [entry["loss"] for entry in one.state.log_history if "loss" in entry]


def bots_log(one, name):
    return [entry[f"bots/{name}"] for entry in one.state.log_history if f"bots/{name}" in entry]


def weights(one):
    return torch.cat([weight.detach().ravel() for weight in one.model.parameters()])


def test_the_trainer_trains_on_what_bots_selects_and_bots_learns_from_it(tmp_path):
    seen, dataset = Seen(), lab_dataset()
    bots = posterior(dataset)
    one = trainer(
        tmp_path, rewards=seen, dataset=dataset, bots=bots, per_device_train_batch_size=8, max_steps=3
    )
    one.train()
    # The same selections by hand: the tasks of a wave, each N times in a row, with no wave behind the posterior.
    again, waves = posterior(dataset), []
    observed = bots.table()["observations"].to_numpy()
    for call in seen.calls:
        rows = again.pool.rows(call[::N])
        assert call == [name for name in again.pool.ids(rows) for _ in range(N)]
        waves.append(rows)
    np.testing.assert_array_equal(again.select(2), waves[0])
    assert len(waves) == 3
    assert observed.sum() == 6
    assert set(np.flatnonzero(observed)) == set(np.concatenate(waves))
    assert len(bots_log(one, "batch/etr")) == 3
    assert {"bots/lam", "bots/rho", "bots/belief/mean"} <= set(one.state.log_history[0])


def test_several_iterations_and_steps_for_one_generation(tmp_path):
    seen, steps = Seen(), []

    class Steps(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            steps.append(state.global_step)

    one = trainer(
        tmp_path,
        rewards=seen,
        more={"callbacks": [Steps()], "eval_dataset": lab_dataset().select(range(4))},
        per_device_train_batch_size=4,
        per_device_eval_batch_size=8,
        num_generations_eval=2,
        gradient_accumulation_steps=2,
        steps_per_generation=4,
        num_iterations=2,
        max_steps=8,
        eval_strategy="steps",
        eval_steps=8,
    )
    one.train()
    assert steps == list(range(1, 9))
    # 8 optimizer steps of 2 micro-batches: 16, of which a generation of 4 micro-batches serves 8.
    training = [call for call in seen.calls if len(call) == 16]
    assert len(training) == 2
    assert all(len(set(call)) == 4 for call in training)
    assert one.curriculum.bots.table()["observations"].to_numpy().sum() == 8
    # Evaluation takes its own tasks, and teaches BOTS nothing.
    assert sum(len(call) for call in seen.calls if len(call) == 8) == 8
    assert any("eval_reward" in entry for entry in one.state.log_history)
    assert one.curriculum.bots.step == 1


STRAIGHT = {"steps_per_generation": 2, "max_steps": 6, "seed": 5}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A trainer that never stopped, and its folder, with a checkpoint of every step."""
    folder = tmp_path_factory.mktemp("straight")
    one = trainer(folder, save_strategy="steps", save_steps=1, **STRAIGHT)
    one.train()
    return one, folder


@pytest.mark.parametrize("stop", [2, 3], ids=["between generations", "amid the steps of one"])
def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path, straight, stop):
    straight, folder = straight
    resumed = trainer(tmp_path, **STRAIGHT)
    resumed.train(resume_from_checkpoint=str(folder / f"checkpoint-{stop}"))
    assert losses(resumed)[stop:] == losses(straight)[stop:]
    assert torch.equal(weights(resumed), weights(straight))
    np.testing.assert_array_equal(resumed.curriculum.bots.alpha, straight.curriculum.bots.alpha)
    # Copies, as selecting draws random numbers from the run that the next test compares with.
    copies = [copy.deepcopy(one.curriculum.bots) for one in (resumed, straight)]
    np.testing.assert_array_equal(copies[0].select(5), copies[1].select(5))


def test_a_checkpoint_of_other_tasks_or_without_a_posterior_is_refused(tmp_path):
    one = trainer(tmp_path / "run", max_steps=1, save_strategy="steps", save_steps=1)
    one.train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    changed = lab_dataset().map(
        lambda row, at: {"answer": "7" if at == 3 else row["answer"]}, with_indices=True
    )
    with pytest.raises(SnapshotError, match=r"belongs to another pool: .*in row 3"):
        trainer(tmp_path / "changed", dataset=changed).train(resume_from_checkpoint=str(checkpoint))
    for file in (checkpoint / "bots").iterdir():
        file.unlink()
    (checkpoint / "bots").rmdir()
    with pytest.raises(FileNotFoundError, match=r"saved without BOTS. bots_resume=False"):
        trainer(tmp_path / "bare").train(resume_from_checkpoint=str(checkpoint))
    fresh = trainer(tmp_path / "fresh", more={"bots_resume": False}, max_steps=2)
    fresh.train(resume_from_checkpoint=str(checkpoint))
    assert fresh.curriculum.bots.step == 0


def test_two_processes_train_one_selection(tmp_path):
    # 6 completions a process, groups of 4: the second group lies in both.
    # By what `accelerate launch` starts for several processes; on CPUs it starts them only through MPI.
    script = [sys.executable, str(REPO / "tests/bots/adapters/trl_run.py"), str(tmp_path)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPO),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1))
    assert first["weights"] == second["weights"]
    for ours, theirs in zip(first["trained"], second["trained"], strict=True):
        together = ours + theirs
        assert together == [name for name in together[::N] for _ in range(N)]
        assert len(set(together)) == 3
    assert set(first["observed"]) == {name for call in first["trained"] + second["trained"] for name in call}
    assert second["observed"] == []


class Doubled(GRPOTrainer):
    """Somebody's own trainer."""

    doubled = 0

    def _generate_and_score_completions(self, inputs):
        self.doubled += len(inputs)
        return super()._generate_and_score_completions(inputs)


class BOTSDoubled(BOTSMixin, Doubled):
    pass


def short(completions, **_):
    return [float(len(said) < 10) for said in completions]


def only_math(completions, domain, **_):
    return [1.0 if name == "math" else None for name in domain]


def test_weights_of_several_rewards_and_other_trainers(tmp_path):
    one = trainer(
        tmp_path / "own",
        make=BOTSDoubled,
        rewards=[right, short, only_math],
        max_steps=1,
        reward_weights=[2.0, -1.0, 1.0],
    )
    one.train()
    assert one.doubled == 8
    # 2·right - short, plus 1 where math counts: from [-1, 2] or [-1, 3] to [0, 1].
    seen = one._seen(np.array([[1, 0, np.nan], [0, 1, np.nan], [1, 0, 1.0], [np.nan, np.nan, np.nan]]))
    np.testing.assert_allclose(seen, [1, 0, 1, np.nan])
    rloo = trainer(tmp_path / "rloo", make=BOTSRLOOTrainer, kind=RLOOConfig, max_steps=1)
    rloo.train()
    assert rloo.curriculum.bots.table()["observations"].to_numpy().sum() == 2


class Server:
    """Stands in for TRL's HTTP client of a vLLM server, which syncs weights through NCCL only."""

    def __init__(self, base_url, group_port, connection_timeout):
        self.url, self.prompts, self.synced, self.caches = base_url, [], [], 0

    def init_communicator(self, device):
        self.device = device

    def get_server_info(self):
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def update_named_params(self, metadata, named_params):
        given = {name: weight.clone() for name, weight in named_params}
        assert [name for name, _, _ in metadata] == list(given)
        self.synced.append(given)

    def reset_prefix_cache(self):
        self.caches += 1

    def generate(self, prompts, features, n, max_tokens, **how):
        self.prompts += [prompt for prompt in prompts for _ in range(n)]
        completions = [[5 + nth % 3, 6] for nth in range(n * len(prompts))]
        return {
            "prompt_ids": prompts,
            "completion_ids": completions,
            "logprobs": [[[-0.5], [-0.5]] for _ in completions],
        }


class Engine:
    """Stands in for vLLM's LLM; its CPU build refuses to start where numba is loaded, as it is by bots."""

    def __init__(self, **how):
        self.how, self.prompts, self.synced, self.caches = how, [], [], 0
        model = SimpleNamespace(load_weights=self.load_weights)
        worker = SimpleNamespace(model_runner=SimpleNamespace(model=model))
        self.llm_engine = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=128),
            model_executor=SimpleNamespace(driver_worker=worker),
        )

    def load_weights(self, weights):
        ((name, weight),) = weights
        if not self.synced or name in self.synced[-1]:
            self.synced.append({})
        self.synced[-1][name] = weight.clone()

    def reset_prefix_cache(self):
        self.caches += 1

    def generate(self, prompts, sampling_params, use_tqdm):
        asked = [prompt["prompt_token_ids"] for prompt in prompts]
        self.prompts += asked
        sure = SimpleNamespace(logprob=-0.5, rank=1)
        tokens = [[5 + nth % 3, 6] for nth in range(len(asked))]
        said = [SimpleNamespace(token_ids=some, logprobs=[{one: sure} for one in some]) for some in tokens]
        return [
            SimpleNamespace(prompt_token_ids=ids, outputs=[each])
            for ids, each in zip(asked, said, strict=True)
        ]


@pytest.mark.parametrize("mode", ["server", "colocate"])
def test_vllm_generates_for_the_selected_tasks_with_the_newest_weights(tmp_path, monkeypatch, mode):
    pytest.importorskip("vllm", reason="vLLM is not installed")
    monkeypatch.setattr("trl.generation.vllm_generation.VLLMClient", Server)
    monkeypatch.setattr("trl.generation.vllm_generation.LLM", Engine)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        # TRL sets them for vLLM; they are gone again after this test.
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    seen = Seen(
        lambda prompts, completions, completion_ids, **_: [float(ids[0] == 5) for ids in completion_ids]
    )
    one = trainer(
        tmp_path,
        rewards=seen,
        use_vllm=True,
        vllm_mode=mode,
        steps_per_generation=2,
        per_device_train_batch_size=4,
        max_steps=4,
    )
    one.train()
    wrapper, tasks = one.vllm_generation, one.curriculum.bots
    engine = wrapper.vllm_client if mode == "server" else wrapper.llm
    # Two generations of two steps: the second has the weights after step 2.
    assert len(engine.synced) == engine.caches == 2
    assert list(engine.synced[0]) == [name for name, _ in one.model.named_parameters()]
    assert not all(torch.equal(engine.synced[0][name], engine.synced[1][name]) for name in engine.synced[0])
    observed = tasks.pool.ids(np.flatnonzero(tasks.table()["observations"].to_numpy()))
    assert set(observed) == {name for call in seen.calls for name in call}
    told = {name: prompt for name, prompt in zip(lab_dataset()["id"], lab_dataset()["prompt"], strict=True)}
    asked = [one.processing_class.decode(prompt, skip_special_tokens=True) for prompt in engine.prompts]
    assert asked == [told[name] for call in seen.calls for name in call]
    assert tasks.step == 1


def test_rewards_outside_0_1_need_a_range_or_a_function(tmp_path):
    def points(prompts, completions, **columns):
        return [10 * reward - 5 for reward in right(prompts, completions, **columns)]

    with pytest.raises(ValueError, match=r"rewards \{'points': -5.0\} are outside \[0, 1\].*bots_rewards"):
        trainer(tmp_path, rewards=points, max_steps=1).train()
    for given in ((-5.0, 5.0), lambda rewards: (rewards[:, 0] + 5) / 10):
        one = trainer(tmp_path, rewards=points, max_steps=1, more={"bots_rewards": given})
        one.train()
        assert one.curriculum.bots.step == 0


def test_bad_input_is_refused_before_a_model_is_loaded(tmp_path):
    dataset = lab_dataset()

    def make(dataset=dataset, bots=None, **changes):
        return trainer(tmp_path, dataset=dataset, bots=bots or posterior(lab_dataset()), **changes)

    with pytest.raises(PoolError, match="IterableDataset has no numbered rows"):
        make(dataset.to_iterable_dataset())
    with pytest.raises(PoolError, match="lacks 20 tasks of the pool"):
        make(dataset.select(range(100)))
    bare = dataset.remove_columns("id")
    with pytest.raises(PoolError, match="has 50 rows, and the pool 120 tasks"):
        make(bare.select(range(50)), BOTS(TaskPool.from_dataset(bare, "weak", "strong"), rollouts=N))
    templated = dataset.map(lambda row: {"prompt": f"<user> {row['prompt']}"})
    assert make(templated).train_dataset is not None
    changed = dataset.map(lambda row, at: {"answer": "7" if at == 3 else row["answer"]}, with_indices=True)
    with pytest.raises(
        PoolError, match=rf"another answer than the pool in 1 rows, .* task {dataset['id'][3]!r}: it has"
    ):
        make(changed)
    bare_bots = BOTS(TaskPool.from_dataset(bare, "weak", "strong"), rollouts=N)
    with pytest.raises(
        PoolError, match=r"another answer than the pool in .* or its order has; make the pool by"
    ):
        make(bare.shuffle(seed=1), bare_bots)
    unanswered = bare.remove_columns("answer")
    with pytest.raises(PoolError, match="another prompt than the pool in 2 rows"):
        make(unanswered.select([1, 0, *range(2, len(bare))]), bare_bots)
    with pytest.raises(
        ValueError, match=r"rollouts=7, and the trainer num_generations=4; make it BOTS\(pool, rollouts=4"
    ):
        make(bots=posterior(dataset, rollouts=7))
    with pytest.raises(TypeError, match="bots is a str"):
        make(bots="bots")
    few = dataset.select(range(3))
    with pytest.raises(ValueError, match=r"one generation takes 4 tasks .* and the data set has 3"):
        trainer(tmp_path, dataset=few, per_device_train_batch_size=16)
    with pytest.raises(ValueError, match="divisible"):
        trainer(tmp_path, per_device_train_batch_size=6)


def test_the_rows_of_a_data_set_in_another_order_are_found_by_id(tmp_path):
    seen, dataset = Seen(), lab_dataset()
    bots = posterior(dataset)
    one = trainer(tmp_path, rewards=seen, dataset=dataset.shuffle(seed=3), bots=bots, max_steps=1)
    one.train()
    observed = np.flatnonzero(bots.table()["observations"].to_numpy())
    assert set(bots.pool.ids(observed)) == set(seen.calls[0])
    assert BOTSGRPOTrainer in type(one).__mro__


def test_the_page_s_example_runs(tmp_path):
    page = (REPO / "docs/adapters.md").read_text().split("## TRL")[1].split("## ")[0]
    code = textwrap.dedent("\n".join(line for line in page.splitlines() if line.startswith("    ")))
    model, tokenizer = load(checkpoint_path("base"))
    tokenizer.save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    args = config(tmp_path, per_device_train_batch_size=8, num_generations=8, max_steps=1)
    known = {"model": str(tmp_path / "model"), "reward": right, "args": args, "train_dataset": lab_dataset()}
    exec(compile(code, "docs/adapters.md", "exec"), known)
    assert known["bots"].step == 0
