"""Make the lab's weak, base and strong checkpoints: `python -m bots.lab.prepare`.

One supervised training run: weak and base are points on the way, strong is the end. Beside the checkpoints it writes
`prepared.json`: the settings, and the pass rates measured on evaluation tasks.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch

from bots.lab.checkpoints import FOLDER, NAMES, load, save
from bots.lab.measure import by_level, pass_rates
from bots.lab.model import build_model
from bots.lab.pool import lab_table
from bots.lab.supervised import BATCH_SIZE, LEARNING_RATE, level_shares, train
from bots.lab.tokenizer import build_tokenizer

STEPS = 2800
FRACTIONS = {"weak": 0.45, "base": 0.6, "strong": 1.0}
SEED = 1
EVAL_SIZE, EVAL_SAMPLES = 1200, 8

logger = logging.getLogger(__name__)


def make_checkpoints(folder: Path, *, steps: int = STEPS, seed: int = SEED) -> dict[str, int]:
    """Train for `steps` and write `folder`/{weak,base,strong}; returns the step at which each was taken."""
    model, tokenizer = build_model(seed), build_tokenizer()
    taken = {name: round(FRACTIONS[name] * steps) for name in NAMES}
    for step, loss, averaged in train(model, tokenizer, steps=steps, seed=seed):
        if step % 100 == 0:
            logger.info("step %d of %d, loss %.3f", step, steps, loss)
        for name in NAMES:
            if step == taken[name]:
                save(averaged, tokenizer, folder / name)
    return taken


def measure_checkpoints(
    folder: Path, *, size: int = EVAL_SIZE, samples: int = EVAL_SAMPLES
) -> dict[str, Any]:
    """Pass rates of the three checkpoints on `size` evaluation tasks: the mean, and by domain and level."""
    table = lab_table(size, seed=0, split="eval")
    measured: dict[str, Any] = {}
    for name in NAMES:
        rates = pass_rates(*load(folder / name), table, samples=samples, seed=0)
        measured[name] = {
            "pass_rate": round(float(rates.mean()), 4),
            "never_solved": round(float((rates == 0).mean()), 4),
            "always_solved": round(float((rates == 1).mean()), 4),
            "by_level": by_level(table, rates),
        }
        logger.info("%s: pass rate %.3f", name, rates.mean())
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the three checkpoints")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of supervised training")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--threads", type=int, default=1, help="torch threads; the result depends on them")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    taken = make_checkpoints(arguments.out, steps=arguments.steps, seed=arguments.seed)
    record = {
        "command": f"python -m bots.lab.prepare --steps {arguments.steps} --seed {arguments.seed} "
        f"--threads {arguments.threads}",
        "steps": taken,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "level_frequencies": {
            domain: [round(share, 4) for share in shares.tolist()]
            for domain, shares in level_shares().items()
        },
        "measured_on": f"{EVAL_SIZE} evaluation tasks, {EVAL_SAMPLES} samples each, temperature 1",
        "measured": measure_checkpoints(arguments.out),
    }
    (arguments.out / "prepared.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
