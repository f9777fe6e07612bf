"""prime-rl and slime are not on PyPI: these drive recorded interfaces, theirs and those of SkyRL, OpenRLHF and verl.

The last three are driven themselves in test_trainers.py, where they are installed.

Each stand-in has the methods, attributes and order of calls of the version that docs/adapters.md names, and no more.
"""

import asyncio
import json
import sys
from enum import Enum
from importlib import import_module
from types import ModuleType, SimpleNamespace

import datasets
import numpy as np
import pytest
import torch

from bots import BOTS, PoolError, TaskPool
from bots.adapters import openrlhf, peers, skyrl
from bots.adapters.curriculum import Curriculum
from bots.adapters.loader import SelectingLoader
from bots.adapters.prime_rl import BOTSSampler
from bots.lab.pool import lab_table

N, TASKS = 4, 40
TABLE = lab_table(TASKS, seed=3, anchors=True)
ROWS = TABLE.to_pylist()


def bots_of_the_lab():
    return BOTS(TaskPool.from_arrow(TABLE, "weak", "strong"), rollouts=N, seed=0)


def rewards_of(row):
    return [float(reward) for reward in np.random.default_rng(row).integers(0, 2, N)]


def observed(curriculum):
    return np.flatnonzero(curriculum.bots.table()["observations"].to_numpy()).tolist()


# prime-rl 559b447: orchestrator/curriculum/base.py calls next(), observe(group of episodes), state_dict, metrics.


def tasks():
    return [SimpleNamespace(key=row["id"], data=SimpleNamespace(**row)) for row in ROWS]


def episodes(task, rewards, trainable=True):
    def trace(reward):
        error = reward is None
        return SimpleNamespace(has_error=error, reward=reward, agent=SimpleNamespace(trainable=trainable))

    return [SimpleNamespace(task=task, traces=[trace(reward)]) for reward in rewards]


def sampler():
    settings = {"rollouts": N, "seed": 0}
    return BOTSSampler(tasks(), wave=5, weak="weak", strong="strong", domain="domain", settings=settings)


def test_prime_rl_samples_and_observes_groups_in_another_order():
    one, other = sampler(), sampler()
    for _ in range(2):
        drawn = [next(one) for _ in range(5)]
        for task in reversed(drawn):
            one.observe(episodes(task, rewards_of(ROWS.index(vars(task.data)))))
    assert len(observed(one.curriculum)) == 10
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert [next(one).key for _ in range(12)] == [next(other).key for _ in range(12)]
    assert one.metrics()["batch/etr"] >= 0


def test_prime_rl_errors_are_no_evidence_and_a_judge_teaches_nothing():
    one = sampler()
    first, second = next(one), next(one)
    one.observe(episodes(first, [None] * N))
    one.observe(episodes(second, rewards_of(0), trainable=False))
    assert observed(one.curriculum) == []
    assert one.metrics()["in_flight"] == 3
    with pytest.raises(PoolError, match="an iterator"):
        BOTSSampler(iter(tasks()), wave=5)
    with pytest.raises(PoolError, match="no field 'pass_rate'"):
        BOTSSampler(tasks(), wave=5, level="pass_rate")


# slime 624b824: rollout/data_source.py; the rollout writes rewards into the samples it was given.


class Status(Enum):
    PENDING = "pending"
    ABORTED = "aborted"


class Sample(SimpleNamespace):
    def get_reward_value(self, args):
        return self.reward


class RolloutDataSourceWithBuffer:
    def __init__(self, args):
        self.args, self.sample_group_index, self.sample_index, self.buffer = args, 0, 0, []
        samples = []
        for row in ROWS:
            metadata = {name: row[name] for name in ("id", "weak", "strong")}
            given = {"prompt": row["prompt"], "label": row["answer"], "metadata": metadata, "reward": None}
            samples.append(Sample(**given, status=Status.PENDING))
        self.dataset = SimpleNamespace(origin_samples=samples, samples=samples[::-1])

    def _get_samples_from_buffer(self, count):
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def add_samples(self, samples):
        self.buffer += samples

    def save(self, rollout_id):
        pass

    def load(self, rollout_id=None):
        pass


@pytest.fixture
def slime(monkeypatch):
    for name in ("slime", "slime.rollout", "slime.rollout.data_source"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["slime.rollout.data_source"].RolloutDataSourceWithBuffer = RolloutDataSourceWithBuffer
    monkeypatch.delitem(sys.modules, "bots.adapters.slime", raising=False)
    from bots.adapters.slime import BOTSDataSource

    return BOTSDataSource


def slime_args(folder, partial=True):
    names = {"id": "id", "weak": "weak", "strong": "strong"}
    return SimpleNamespace(
        n_samples_per_prompt=N,
        rollout_batch_size=5,
        partial_rollout=partial,
        save=str(folder),
        load=str(folder),
        bots=names,
    )


def test_slime_reads_rewards_from_the_samples_it_gave(slime, tmp_path):
    one = slime(slime_args(tmp_path))
    groups = one.get_samples(5)
    for group in groups[1:]:
        for sample, reward in zip(group, [1.0, 0.0, 0.0, 1.0], strict=True):
            sample.reward = reward
    for sample in groups[0]:
        sample.status = Status.ABORTED
    one.add_samples(groups[:1])
    again = one.get_samples(5)
    assert again[0] is groups[0]
    assert len(observed(one.curriculum)) == 4
    assert {sample.index for group in groups + again[1:] for sample in group} == set(range(36))
    one.save(3)
    other = slime(slime_args(tmp_path))
    other.load(3)
    np.testing.assert_array_equal(other.curriculum.bots.alpha, one.curriculum.bots.alpha)
    assert [g[0].prompt for g in other.get_samples(5)]


def test_slime_s_aborted_groups_are_given_up_where_it_discards_them(slime, tmp_path):
    one = slime(slime_args(tmp_path, partial=False))
    discarded = one.get_samples(5)[0]
    discarded[2].status = Status.ABORTED
    one.harvest()
    assert one.curriculum.metrics()["groups/dropped"] == 1
    assert one.curriculum.metrics()["in_flight"] == 4


def test_slime_from_somewhere_else_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "slime", ModuleType("slime"))
    monkeypatch.delitem(sys.modules, "bots.adapters.slime", raising=False)
    with pytest.raises(
        peers.UnsupportedPeerError, match=r"works with slime 0.3 from its sources: the package"
    ):
        import_module("bots.adapters.slime")


# SkyRL 0.3.0: train/trainer.py iterates its train_dataloader, then generates; ids of trajectories are rows.


class Prompts(list):
    def collate_fn(self, items):
        return [{"prompt": row["prompt"], "uid": str(ROWS.index(row))} for row in items]


class RayPPOTrainer:
    def __init__(self, per_token):
        self.cfg = SimpleNamespace(trainer=SimpleNamespace(train_batch_size=5))
        self.train_dataset, self.per_token, self.all_metrics = Prompts(ROWS), per_token, {}
        self._build_train_dataloader_and_compute_training_steps()

    def _build_train_dataloader_and_compute_training_steps(self):
        self.train_dataloader = [None] * (TASKS // 5)

    async def generate(self, input_batch):
        rewards = [r for row in map(int, input_batch["uids"]) for r in rewards_of(row)]
        # Its own generator gives ids only if it is by steps.
        return {"trajectory_ids": None, "rewards": [[0.0, r] for r in rewards] if self.per_token else rewards}

    def step(self, batch, phase="train"):
        given = {
            "uids": [one["uid"] for one in batch],
            "trajectory_ids": [SimpleNamespace(instance_id=one["uid"]) for one in batch for _ in range(N)],
            "batch_metadata": SimpleNamespace(training_phase=phase),
        }
        return asyncio.run(self.generate(given))


class SkyTrainer(skyrl.BOTSMixin, RayPPOTrainer):
    pass


@pytest.mark.parametrize("per_token", [False, True])
def test_skyrl_trains_on_waves_and_keeps_them_with_its_loader(per_token):
    one = SkyTrainer(per_token, bots=bots_of_the_lab())
    batches = iter(one.train_dataloader)
    for _ in range(3):
        batch = next(batches)
        one.step(batch)
        one.step(batch, phase="eval")
    assert len(observed(one.curriculum)) == 15
    assert one.all_metrics["bots/step"] == 2
    other = SkyTrainer(per_token, bots=bots_of_the_lab())
    other.train_dataloader.load_state_dict(json.loads(json.dumps(one.train_dataloader.state_dict())))
    rest = list(other.train_dataloader)
    assert len(rest) == TASKS // 5 - 3
    assert rest[0] == next(batches)


def test_skyrl_counts_the_last_of_several_steps():
    ids = [SimpleNamespace(instance_id=str(row)) for row in (3, 3, 7)]
    output = {"trajectory_ids": ids, "rewards": [0.0, 1.0, 0.5], "is_last_step": [False, True, True]}
    assert skyrl.rewards_of(output) == ([3, 7], [1.0, 0.5])


def test_a_loader_is_refused_where_the_data_set_is_not_the_pool():
    curriculum = Curriculum(bots_of_the_lab(), wave=5)
    with pytest.raises(PoolError, match="has 39 rows, and the pool 40 tasks; trainers leave out"):
        SelectingLoader(ROWS[:-1], curriculum, 5, list)
    with pytest.raises(ValueError, match="a batch of 41"):
        SelectingLoader(ROWS, curriculum, 41, list)
    with pytest.raises(ValueError, match="holds no posterior"):
        SelectingLoader(ROWS, curriculum, 5, list).load_state_dict({"_sampler_iter_yielded": 3})


# OpenRLHF 0.11.2: trainer/ppo_utils/samples_generator.py draws prompts one by one and processes each response.


class SamplesGenerator:
    def __init__(self, strategy, prompts_dataloader):
        self.args, self.prompts_dataloader = strategy.args, prompts_dataloader

    def _process_response_into_experience(self, response, **how):
        return SimpleNamespace(prompts=[response["prompt"]], **how)


class Generator(openrlhf.BOTSMixin, SamplesGenerator):
    pass


class PromptDataset(list):
    @property
    def prompts(self):
        return [prompt for _, prompt, _, _ in self]

    @property
    def labels(self):
        return [label for _, _, label, _ in self]

    def collate_fn(self, items):
        return tuple(map(list, zip(*items, strict=True)))


def generator(rows=ROWS):
    dataset = PromptDataset([("lab", row["prompt"], row["answer"], None) for row in rows])
    strategy = SimpleNamespace(args=SimpleNamespace(rollout=SimpleNamespace(batch_size=5)))
    return Generator(strategy, SimpleNamespace(dataset=dataset), bots=bots_of_the_lab())


def test_openrlhf_learns_from_each_response_before_any_filter():
    one = generator()
    drawn = [next(iter(one.prompts_dataloader))[1][0] for _ in range(5)]
    assert len(set(drawn)) == 5
    for nth in range(N):
        for prompt in drawn:
            one._process_response_into_experience({"prompt": prompt, "reward": float(nth % 2)})
    one._process_response_into_experience({"prompt": "of the evaluation", "reward": 1.0})
    assert sorted(one.prompts_dataloader.dataset.prompts[row] for row in observed(one.curriculum)) == sorted(
        drawn
    )
    (late,) = next(iter(one.prompts_dataloader))[1]
    with pytest.raises(ValueError, match="without a reward"):
        one._process_response_into_experience({"prompt": late})
    with pytest.raises(ValueError, match=r"rows \[0, 39\] .* have the same prompt"):
        generator([*ROWS[:-1], ROWS[0]])
    with pytest.raises(PoolError, match="tasks in another order, from row 38 on"):
        generator([*ROWS[:38], ROWS[39], ROWS[38]])


@pytest.mark.parametrize("mixin", [openrlhf.BOTSMixin, skyrl.BOTSMixin])
def test_a_trainer_of_another_version_is_refused(mixin):
    class Other:
        """Has none of the methods."""

    with pytest.raises(
        peers.UnsupportedPeerError, match=r"Other has no .* it works with .* of (OpenRLHF|SkyRL) 0"
    ):
        type("Mine", (mixin, Other), {})(bots=bots_of_the_lab())


# verl 0.9.1: trainer/ppo/v1/trainer_base.py draws a batch, gives it uids, and reads rewards from the transfer queue.


class Rows(list):
    dataframe = datasets.Dataset(TABLE)


class Loader(SimpleNamespace):
    def __len__(self):
        return TASKS // 5


class Settings(dict):
    __getattr__ = dict.__getitem__


class PPOTrainer:
    def __init__(self, filters=False):
        self.config = Settings(
            algorithm=Settings(filter_groups=Settings(enable=filters)),
            actor_rollout_ref=Settings(rollout=Settings(n=N)),
            data=Settings(train_batch_size=5),
            bots={"weak": "weak", "strong": "strong", "seed": 0},
        )
        self._init_dataloader()
        self.batches = iter(self.train_dataloader)

    def _init_dataloader(self):
        self.train_dataset = Rows(ROWS)
        self.train_dataloader = Loader(batch_size=5, collate_fn=list)

    def _fetch_one_gen_batch(self):
        rows = next(self.batches)
        return {"uid": np.array([f"uid of {row['id']}" for row in rows], object), "rows": rows}

    def _compute_advantage(self, batch, metrics):
        return batch


def test_verl_reads_rewards_by_uid_and_leaves_padding_out(monkeypatch):
    queue = ModuleType("transfer_queue")
    monkeypatch.setitem(sys.modules, "transfer_queue", queue)
    monkeypatch.setattr(peers, "version", lambda package: "0.9.1")
    monkeypatch.delitem(sys.modules, "bots.adapters.verl", raising=False)
    from bots.adapters.verl import BOTSMixin

    class Trainer(BOTSMixin, PPOTrainer):
        pass

    one, metrics = Trainer(), {}
    for _ in range(2):
        drawn = one._fetch_one_gen_batch()
        uids = [*np.repeat(drawn["uid"], N).tolist(), drawn["uid"][0]]
        scores = [[0.0, reward] for row in drawn["rows"] for reward in rewards_of(ROWS.index(row))] + [
            [9.0, 9.0]
        ]
        data = {"uid": np.array(uids, object), "rm_scores": torch.tensor(scores)}
        queue.kv_batch_get = lambda keys, partition_id, select_fields, data=data: data
        tags = [{} for _ in uids[:-1]] + [{"is_padding": True}]
        batch = SimpleNamespace(keys=uids, partition_id="train", tags=tags)
        assert one._compute_advantage(batch, metrics) is batch
    assert len(observed(one.curriculum)) == 10
    assert metrics["bots/step"] == 1
    assert metrics["bots/in_flight"] == 0
    with pytest.raises(ValueError, match="filter_groups drops groups"):
        Trainer(filters=True)
