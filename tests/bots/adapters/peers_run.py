"""verl's, SkyRL's, OpenRLHF's and verifiers' own classes with our adapters, in a process that has their folder.

What needs a GPU is replaced: verl's workers and its transfer queue, SkyRL's generator, OpenRLHF's engines. So are the
clients of services that verifiers imports. Prints one JSON line.
"""

import asyncio
import json
import os
import sys
import textwrap
import traceback
import typing
from collections import defaultdict
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import typing_extensions

FOLDER, WORK = sys.argv[1], Path(sys.argv[2])
sys.path.insert(0, FOLDER)
os.environ["VERL_USE_EXTERNAL_MODULES"] = "bots.adapters.verl_sync"
for name in ("anthropic", "anthropic.types", "prime_sandboxes", "prime_sandboxes.models"):
    sys.modules[name] = MagicMock()
# pydantic refuses the standard library's on Python 3.11, and SkyRL uses it.
typing.TypedDict = typing_extensions.TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bots.lab.checkpoints import checkpoint_path, load
from bots.lab.pool import lab_table

N, TASKS, BATCH = 4, 40, 5
TABLE = lab_table(TASKS, seed=3, anchors=True)
PROMPTS, IDS = TABLE["prompt"].to_pylist(), TABLE["id"].to_pylist()


def rewards_of(row):
    """Of N completions; every third task is always solved."""
    if row % 3 == 0:
        return [1.0] * N
    return [1.0, *(float(reward) for reward in np.random.default_rng(row).integers(0, 2, N - 2)), 0.0]


def seen(bots):
    """Rows with evidence."""
    return bots.table()["observations"].to_numpy().nonzero()[0].tolist()


def page(trainer):
    """What the snippet of docs/adapters.md about a trainer defines, run as it is printed."""
    section = (Path(__file__).parents[3] / "docs/adapters.md").read_text().split(f"\n## {trainer}\n")[1]
    lines = section.split("\n## ")[0].splitlines()
    first = next(nth for nth, line in enumerate(lines) if line.startswith("    "))
    last = next((nth for nth in range(first, len(lines)) if lines[nth] and lines[nth][0] != " "), len(lines))
    defined = {}
    exec(
        compile(textwrap.dedent("\n".join(lines[first:last])), f"docs/adapters.md, {trainer}", "exec"),
        defined,
    )
    return defined


def chats(path):
    """A parquet file of the tasks, with prompts as messages."""
    messages = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    pq.write_table(TABLE.drop_columns(["prompt"]).append_column("prompt", pa.array(messages)), path)
    return str(path)


def drive_openrlhf():
    from openrlhf.datasets.prompts_dataset import PromptDataset
    from openrlhf.trainer.ppo_utils import samples_generator

    class Engine:
        """Answers as OpenRLHF's vLLM actor does; `.remote` calls at once."""

        def __init__(self):
            self.get_num_unfinished_requests = SimpleNamespace(remote=lambda: 0)
            self.generate_responses = SimpleNamespace(remote=self.answer)

        def answer(self, prompt, label, num_samples, **how):
            base = {
                "prompt": prompt,
                "label": label,
                "observation_tokens": [1, 2, 3],
                "action_ranges": [(1, 3)],
            }
            rewards = rewards_of(PROMPTS.index(prompt))[:num_samples]
            return [
                {**base, "reward": reward, "scores": reward, "rollout_log_probs": None} for reward in rewards
            ]

    samples_generator.ray = SimpleNamespace(
        get=lambda given: given, wait=lambda refs, num_returns, timeout: (refs[:1], refs[1:])
    )
    args = SimpleNamespace(
        rollout=SimpleNamespace(batch_size=BATCH, n_samples_per_prompt=N, vllm_generate_batch_size=BATCH),
        data=SimpleNamespace(input_key="prompt", label_key="answer", apply_chat_template=False),
        vllm=SimpleNamespace(enable_sleep=False),
        algo=SimpleNamespace(
            dynamic_filtering_enable=True,
            dynamic_filtering_range=(0.0, 1.0),
            advantage=SimpleNamespace(is_correction_level="off"),
        ),
    )
    strategy = SimpleNamespace(args=args, is_rank_0=lambda: True)
    dataset = PromptDataset(TABLE.to_pylist(), None, strategy)
    pq.write_table(TABLE, WORK / "train.parquet")
    with chdir(WORK):
        # The arguments as PPOTrainer gives them.
        one = page("OpenRLHF")["BOTSSamplesGenerator"](
            strategy=strategy,
            prompts_dataloader=SimpleNamespace(dataset=dataset),
            eval_dataloader=None,
            tokenizer=None,
            vllm_engines=[Engine()],
        )
    trained = [experience.prompts[0] for _ in range(2) for experience in one.generate_samples()[0]]
    source = (Path(samples_generator.__file__).parents[1] / "ppo_trainer.py").read_text()
    patched = [
        "from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator",
        "self.samples_generator = SamplesGenerator(",
        "self.prompts_dataloader.state_dict()",
    ]
    return {
        "trained": sorted({PROMPTS.index(prompt) for prompt in trained}),
        "seen": seen(one.curriculum.bots),
        "patch_fits": [source.count(line) for line in patched],
    }


def drive_verl():
    import torch
    import transfer_queue as queue
    from hydra import compose, initialize_config_module
    from tensordict import TensorDict
    from transfer_queue import KVBatchMeta
    from verl.trainer.ppo.v1 import get_trainer_cls

    file = chats(WORK / "verl.parquet")
    with initialize_config_module(version_base=None, config_module="verl.trainer.config"):
        config = compose(
            "ppo_trainer",
            overrides=[
                f"data.train_files=[{file}]",
                f"data.val_files=[{file}]",
                f"data.train_batch_size={BATCH}",
                "data.dataloader_num_workers=0",
                f"actor_rollout_ref.rollout.n={N}",
                f"actor_rollout_ref.model.path={checkpoint_path('base')}",
                "algorithm.adv_estimator=grpo",
                f"trainer.default_local_dir={WORK}/checkpoints",
                "+bots.weak=weak",
                "+bots.strong=strong",
                "+bots.seed=0",
            ],
        )
    workers = SimpleNamespace(save_checkpoint=lambda *_, **__: None, load_checkpoint=lambda **_: None)

    def trainer():
        one = get_trainer_cls("sync")(config)
        one.actor_rollout_wg = workers
        one._init_tokenizer()
        one._init_dataloader()
        one._load_checkpoint()
        return one

    one, drawn, written = trainer(), [], []
    for step in (1, 2):
        one.global_steps = step
        batch = one._next_train_batch()
        of_batch = [IDS.index(name) for name in batch["id"]]
        drawn += of_batch
        uids = [str(uid) for uid in batch["uid"]]
        scores = defaultdict(list)
        for uid, row in zip(uids, of_batch, strict=True):
            for nth, reward in enumerate(rewards_of(row)):
                scores[f"{uid}_{nth}_0"] = [uid, [0.0, reward]]
        # A padded row, as verl adds them to make a batch divisible.
        scores[f"{uids[0]}_{N}_0"] = [uids[0], [9.0, 9.0]]
        nested = torch.nested.as_nested_tensor(
            [torch.tensor(score) for _, score in scores.values()], layout=torch.jagged
        )
        fields = TensorDict(
            {"rm_scores": nested, "response_mask": torch.ones_like(nested)}, batch_size=len(scores)
        )
        fields["uid"] = [uid for uid, _ in scores.values()]
        queue.kv_batch_get = lambda keys, partition_id, select_fields, fields=fields: fields
        queue.kv_batch_put = lambda keys, partition_id, fields: written.append(fields)
        tags = [{} for _ in scores]
        tags[-1] = {"is_padding": True}
        metrics = {}
        one._compute_advantage(KVBatchMeta(list(scores), tags, "train"), metrics)
    one._save_checkpoint()
    again = trainer()
    one.global_steps = again.global_steps = 3
    following = [trainer_._next_train_batch()["id"] for trainer_ in (one, again)]
    return {
        "name": type(one).__name__,
        "trained": sorted(set(drawn)),
        "seen": seen(one.curriculum.bots),
        "metrics": {name: float(value) for name, value in metrics.items() if name.startswith("bots/")},
        "advantages": sorted(written[0].keys()),
        "resumed_alike": [str(name) for name in following[0]] == [str(name) for name in following[1]],
    }


def drive_skyrl():
    from skyrl.train.config import SkyRLTrainConfig
    from skyrl.train.dataset import PromptDataset
    from skyrl.train.generators.utils import prepare_generator_input

    experiment = page("SkyRL")["MyExp"]

    class Generator:
        """Its outputs are those of SkyRL's own generator without steps: it gives no ids."""

        async def generate(self, batch):
            rows = [int(one.instance_id) for one in batch["trajectory_ids"]]
            repeats = [one.repetition_id for one in batch["trajectory_ids"]]
            return {
                "prompt_token_ids": [[1]] * len(rows),
                "response_ids": [[2, 3]] * len(rows),
                "rewards": [rewards_of(row)[nth] for row, nth in zip(rows, repeats, strict=True)],
                "loss_masks": [[1, 1]] * len(rows),
                "stop_reasons": ["stop"] * len(rows),
                "rollout_metrics": {"generate/mean": 1.0},
                "rollout_logprobs": None,
                "trajectory_ids": None,
                "is_last_step": None,
            }

    _, tokenizer = load(checkpoint_path("base"))
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    dataset = PromptDataset(chats(WORK / "skyrl.parquet"), tokenizer, 512, num_workers=1)
    config = SkyRLTrainConfig()
    config.trainer.train_batch_size = BATCH
    config.generator.n_samples_per_prompt = N
    config.data.dataloader.num_workers = 0
    config.generator.inference_engine.enable_ray_prometheus_stats = False

    def trainer():
        parts = {
            "tracker": None,
            "tokenizer": tokenizer,
            "train_dataset": dataset,
            "inference_engine_client": None,
        }
        parts |= {"eval_dataset": None, "colocate_pg": None, "generator": Generator()}
        return experiment.get_trainer(None, cfg=config, **parts)

    one, again, drawn = trainer(), trainer(), []
    batches = iter(one.train_dataloader)
    for step in (1, 2):
        prompts = next(batches)
        drawn += [int(prompt["uid"]) for prompt in prompts]
        for phase in ("eval", "train"):
            asked, _ = prepare_generator_input(prompts, N, {}, "gsm8k", phase, step)
            asyncio.run(one.generate(asked))
    again.train_dataloader.load_state_dict(one.train_dataloader.state_dict())
    following = [next(iter(trained)) for trained in (batches, again.train_dataloader)]
    return {
        "trained": sorted(drawn),
        "seen": seen(one.curriculum.bots),
        "metrics": {
            name: float(value) for name, value in one.all_metrics.items() if name.startswith("bots/")
        },
        "resumed_alike": following[0] == following[1],
    }


def drive_verifiers():
    from verifiers.v1.agent import AgentConfig
    from verifiers.v1.episode import Episode
    from verifiers.v1.task import Task, TaskData
    from verifiers.v1.trace import AgentInfo, Reward, Trace, TraceTask

    from bots.adapters.prime_rl import BOTSSampler

    class Data(TaskData):
        weak: float | None
        strong: float | None
        domain: str

    class LabTask(Task[Data]):
        @property
        def key(self):
            return self.data.id

    rows = TABLE.select(["id", "prompt", "weak", "strong", "domain"]).to_pylist()
    tasks = [LabTask(Data(idx=nth, **row)) for nth, row in enumerate(rows)]

    def sampler():
        settings = {"rollouts": N, "seed": 0}
        return BOTSSampler(
            tasks, wave=BATCH, weak="weak", strong="strong", domain="domain", settings=settings
        )

    def episode(task, reward, trainable=True, ok=True):
        of = TraceTask(type="LabTask", data=task.data, key=task.key, hash=task.hash)
        agent = AgentInfo(config=AgentConfig(), trainable=trainable)
        trace = Trace(task=of, agent=agent, rewards={"right": Reward(score=reward)}, ok=ok)
        return Episode(task=of, traces=[trace], ok=ok)

    one, again = sampler(), sampler()
    drawn = [next(one) for _ in range(2 * BATCH)]
    broken, *rest = drawn
    for task in rest:
        one.observe([episode(task, reward) for reward in rewards_of(IDS.index(task.key))])
    one.observe([episode(broken, 1.0, ok=False) for _ in range(N)])
    again.load_state_dict(json.loads(json.dumps(one.state_dict())))
    return {
        "trained": sorted(IDS.index(task.key) for task in rest),
        "seen": seen(one.curriculum.bots),
        "resumed_alike": [next(one).key for _ in range(7)] == [next(again).key for _ in range(7)],
    }


def main():
    """Each peer's result, or its error."""
    drives = {
        "verl": drive_verl,
        "openrlhf": drive_openrlhf,
        "skyrl": drive_skyrl,
        "verifiers": drive_verifiers,
    }
    found = {}
    for name, drive in drives.items():
        try:
            found[name] = drive()
        except Exception:  # noqa: BLE001 (told to the test, which has one assertion for each peer)
            found[name] = {"error": traceback.format_exc()}
    print(json.dumps(found))


main()
