"""What the coordinator costs: fake engines, everything else real, at 1 to 256 engines and 92 k and 1 M tasks.

    python -m benchmarks.coordinator [--engines 1 8 64 256] [--tasks 92000 1000000] [--seconds 20]

The engines hold no model and generate by a known latency law (`benchmarks.fake_engine.Law`). Coordinator, ledger,
posterior, weight broker, journal and graders are real. A step takes 4 groups of 16 completions per engine, at most two
policy versions stale. Prints for each size, per step: groups, wall-clock seconds, CPU seconds of the coordinator in
total and per group, seconds of the posterior to select and to observe, and resident memory of the coordinator.
`groups/s at most` is what one coordinator can handle on a core of its own; beyond that rate it is the bottleneck.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import ray

from actors.coordinator import Coordinator
from actors.grader import Grader
from actors.journal import Journal
from actors.partners import Partners
from actors.posterior import PosteriorActor, write_pool
from actors.weights.broker import WeightBroker
from benchmarks.fake_engine import Law, hosted
from bots.config.train import TrainConfig
from bots.config.tree import parse_config
from bots.pool import TaskPool
from bots.rollouts.encoded_pool import EncodedPool, Prompts
from bots.rollouts.ledger import audit

SAMPLES, GROUPS_PER_ENGINE, STALENESS, PROMPT_TOKENS = 16, 4, 2, 64


def fake_pool(tasks: int) -> TaskPool:
    weak = np.random.default_rng(0).random(tasks) * 0.6
    columns = {
        "id": np.arange(tasks).astype(str),
        "prompt": pa.array(["?"] * tasks),
        "answer": pa.array(["1"] * tasks),
        "grader": pa.array(["exact"] * tasks),
        "weak": weak,
        "strong": weak + 0.3,
    }
    return TaskPool.from_arrow(pa.table(columns), weak="weak", strong="strong")


def measure(engines: int, tasks: int, seconds: float, folder: Path) -> dict[str, float]:
    """Run for so many seconds after the first steps, and say what a step cost."""
    groups = GROUPS_PER_ENGINE * engines
    config = parse_config(
        TrainConfig,
        {
            "run": {"name": "fake", "steps": 1, "folder": str(folder), "keep_rollouts": False},
            "model": {"path": "none"},
            "pool": {"sources": [{"kind": "lab", "size": 10, "seed": 1}]},
            "selection": {"tasks": groups},
            "rollout": {
                "samples": SAMPLES,
                "max_tokens": 1000,
                "max_staleness": STALENESS,
                "max_num_seqs": 128,
            },
        },
        "benchmark",
    )
    pool = fake_pool(tasks)
    write_pool(pool, folder / "pool.arrow")
    posterior = PosteriorActor.remote(
        str(folder / "pool.arrow"),
        pool.anchor_columns,
        config.selection.settings(SAMPLES, 0),
        str(folder / "posterior"),
    )
    broker, journal = WeightBroker.remote(), Journal.remote(str(folder))
    graders = [Grader.options(num_cpus=0).remote(1, graders=["exact"])]
    handles = hosted(engines, Law(), hosts=4)
    prompt = np.zeros(PROMPT_TOKENS, np.int32)
    encoded = EncodedPool(pool, Prompts([prompt] * tasks))
    pools = ray.put(encoded), ray.put(None)
    coordinator = Coordinator.remote(config, str(folder))
    named = [(f"grader-{i}", grader) for i, grader in enumerate(graders)]
    ray.get(coordinator.restore.remote(None, Partners(posterior, broker, journal, handles, named), *pools))
    process = psutil.Process(ray.get(coordinator.pid.remote()))

    def publish(version: int) -> None:
        ray.get(broker.publish.remote(version, f"sum{version}"))
        ray.get(coordinator.new_weights.remote(version, f"sum{version}"))

    publish(0)
    step, records, staleness = 0, [], []
    started = cpu = 0.0
    while step < 5 or time.perf_counter() - started < seconds:
        if step == 3:
            started, cpu = time.perf_counter(), sum(process.cpu_times()[:2])
        step += 1
        _, figures, _ = ray.get(coordinator.next_batch.remote(step))
        publish(step)
        figures |= ray.get(coordinator.observed.remote())
        if step > 3:
            records.append(figures)
            staleness.append(figures["staleness_mean"])
    wall = (time.perf_counter() - started) / len(records)
    cpu = (sum(process.cpu_times()[:2]) - cpu) / len(records)
    audit(folder / "ledger.jsonl")
    result = {
        "engines": engines,
        "tasks": tasks,
        "groups": groups,
        "step s": wall,
        "CPU s": cpu,
        "CPU us/group": 1e6 * cpu / groups,
        "select s": float(np.mean([r["select_seconds"] for r in records])),
        "observe s": float(np.mean([r["observe_seconds"] for r in records])),
        "MiB": process.memory_info().rss / 2**20,
        "staleness": float(np.mean(staleness)),
        "groups/s at most": groups / cpu,
    }
    for actor in [coordinator, posterior, broker, journal, *graders, *{h.host for _, h in handles}]:
        ray.kill(actor)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--tasks", type=int, nargs="+", default=[92_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    ray.init("local", num_cpus=8, include_dashboard=False, logging_level="error", log_to_driver=False)
    results = []
    for tasks in options.tasks:
        for engines in options.engines:
            with tempfile.TemporaryDirectory() as folder:
                results.append(measure(engines, tasks, options.seconds, Path(folder)))
            if len(results) == 1:
                print("".join(f"{name:>17}" for name in results[0]))
            print("".join(f"{value:>17,.4g}" for value in results[-1].values()), flush=True)
    print(json.dumps(results))
    ray.shutdown()


if __name__ == "__main__":
    main()
