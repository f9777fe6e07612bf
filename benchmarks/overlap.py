"""On-policy against asynchronous training: engine busy share and tokens per second, same work, one invocation.

    python -m benchmarks.overlap [--staleness 0 1 2] [--steps 30] [section.key=value …]

Trains the lab (configs/lab.yaml, no evaluation or checkpoints) once for each value of `rollout.max_staleness`, with the
same seed, tasks, engines and learner. Prints, over the steps after the third:
  busy       share of time that the engines spend in engine steps
  tokens/s   trained tokens per second of wall-clock time
  step s     seconds per step; wait s: the part in which the learner waits for its batch
  staleness  mean over the samples, in policy versions; KL: mean between the sampling engine and the learner
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bots.config.train import TrainConfig, load_config
from pipelines.shared.summary import read_metrics
from pipelines.train import train

LAB = Path(__file__).parents[1] / "configs" / "lab.yaml"
WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--staleness", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    results = []
    print(f"{'k':>3}{'busy':>8}{'tokens/s':>10}{'step s':>8}{'wait s':>8}{'staleness':>11}{'KL':>10}")
    for k in options.staleness:
        with trained(options.steps, [*options.overrides, f"rollout.max_staleness={k}"]) as config:
            result = summarise(k, records_of(config))
        results.append(result)
        print(
            f"{k:>3}{result['busy']:>8.0%}{result['tokens/s']:>10,.0f}{result['step s']:>8.2f}"
            f"{result['wait s']:>8.2f}{result['staleness']:>11.2f}{result['KL']:>10.1e}",
            flush=True,
        )
    print(json.dumps(results))


@contextmanager
def trained(steps: int, overrides: list[str]) -> Iterator[TrainConfig]:
    """Train the lab without evaluation or checkpoints; inside, the run's folder is there."""
    with tempfile.TemporaryDirectory() as folder:
        fixed = [
            f"run.steps={steps}",
            f"run.folder={folder}",
            "run.checkpoint_every=0",
            "evaluation.pool=null",
        ]
        config = load_config(LAB, [*overrides, *fixed])
        train(config)
        yield config


def records_of(config: TrainConfig) -> list[dict[str, Any]]:
    """The records of the steps after the third."""
    return [record for record in read_metrics(config.run.path) if record["step"] > WARM_UP]


def summarise(k: int, records: list[dict[str, Any]]) -> dict[str, float]:
    """Means over the steps; shares weighted by the steps' length."""
    seconds = sum(record["seconds"] for record in records)

    def mean(key: str) -> float:
        return sum(record[key] for record in records) / len(records)

    waits = ("seconds/select", "seconds/generate", "seconds/grade")
    return {
        "k": k,
        "busy": sum(record["engine_busy_share"] * record["seconds"] for record in records) / seconds,
        "tokens/s": sum(record["tokens"] for record in records) / seconds,
        "step s": seconds / len(records),
        "wait s": sum(record.get(phase, 0.0) for record in records for phase in waits) / len(records),
        "staleness": mean("staleness_mean"),
        "KL": mean("mismatch_kl"),
    }


if __name__ == "__main__":
    main()
