"""A TRL trainer on the lab's model and tasks, in one process or in two."""

import json
import sys
from pathlib import Path

import datasets
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from trl import GRPOConfig

from bots import BOTS, TaskPool
from bots.adapters.trl import BOTSGRPOTrainer
from bots.lab.checkpoints import checkpoint_path, load
from bots.lab.graders import GRADERS
from bots.lab.pool import lab_table

N = 4


def lab_dataset(size=120):
    return datasets.Dataset(lab_table(size, seed=7, anchors=True))


def right(prompts, completions, answer, grader, **_):
    graded = zip(grader, prompts, answer, completions, strict=True)
    return [GRADERS[name](prompt, gold, said).reward for name, prompt, gold, said in graded]


def posterior(dataset, **settings):
    pool = TaskPool.from_dataset(dataset, weak="weak", strong="strong")
    return BOTS(pool, **{"rollouts": N, "seed": 0} | settings)


def config(folder, kind=GRPOConfig, **changes):
    settings = dict(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        num_generations=N,
        max_completion_length=24,
        max_steps=3,
        learning_rate=1e-4,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    return kind(**settings | changes)


def trainer(
    folder,
    make=BOTSGRPOTrainer,
    kind=GRPOConfig,
    rewards=right,
    dataset=None,
    bots=None,
    more=None,
    **changes,
):
    torch.manual_seed(0)
    dataset = lab_dataset() if dataset is None else dataset
    model, tokenizer = load(checkpoint_path("base"))
    given = {"bots": posterior(dataset) if bots is None else bots, **(more or {})}
    return make(
        model=model,
        reward_funcs=rewards,
        args=config(folder, kind, **changes),
        train_dataset=dataset,
        processing_class=tokenizer,
        **given,
    )


def rank(folder):
    """One of several processes: trains, and writes which prompts it trained on and what it knows at the end."""
    trained = []

    def noted(prompts, completions, id, **columns):
        trained.append(list(id))
        return right(prompts, completions, **columns)

    one = trainer(folder, rewards=noted, per_device_train_batch_size=6, steps_per_generation=1, max_steps=2)
    one.train()
    seen = {
        "rank": one.accelerator.process_index,
        "trained": trained,
        "observed": one.curriculum.bots.pool.ids(
            one.curriculum.bots.table()["observations"].to_numpy().nonzero()[0]
        ),
        "weights": float(sum(weight.double().sum() for weight in one.model.parameters())),
    }
    (folder / f"rank_{seen['rank']}.json").write_text(json.dumps(seen))


def main():
    """Two processes by torchrun's own launcher, as forks: then TRL is imported once instead of in each."""
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork",
        max_restarts=0,
    )
    elastic_launch(settings, rank)(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
