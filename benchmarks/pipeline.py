"""Tokens per second inside the pipeline, against plain vLLM on the same requests, in one run.

    python -m benchmarks.pipeline [--staleness 0 1 2] [--steps 20] [section.key=value …]

Trains the lab (configs/lab.yaml, no evaluation or checkpoints) once for each value of `rollout.max_staleness`, then
sends the prompts of the first run, with the same seeds, to the same number of engines through plain `LLM.generate`,
with the initial weights. Prints tokens per second and, in brackets, the ratio to `plain`, for
  plain      all engines at once, nothing else running, without our shortcuts (actors/cpu_shortcuts.py)
  engines    the pipeline's engines during their steps (mean over the engines)
  step       whole training steps, including learning, grading and weight sync
If engines and learner share cores, as with the lab's settings on two cores, a step cannot reach `plain` at any
staleness. There, `rollout.engines=1 learner.ranks=1` gives each a core of its own.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import ray
from vllm import SamplingParams

from actors import cpu_shortcuts
from actors.engine import Engine, prepare_process
from actors.environment import engine_environment
from benchmarks.overlap import WARM_UP, records_of, trained
from bots.config.train import RolloutConfig, TrainConfig
from bots.rollouts.request import request_seed
from bots.support.event_log import EventLog
from pipelines.shared.preflight import load_inputs

# Rows of the pool, by wave.
Batches = dict[int, list[int]]


@ray.remote
class PlainEngine:
    """The same engine with nothing around it and only vLLM's own code."""

    def __init__(self, model: str, config: RolloutConfig) -> None:
        prepare_process()
        self.config = config
        self.llm = Engine(model, config).llm
        cpu_shortcuts.remove(self.llm)

    def generate(self, prompts: list[np.ndarray], seeds: list[int]) -> int:
        """Generate, and return the number of tokens."""
        settings = [
            SamplingParams(
                n=self.config.samples,
                max_tokens=self.config.max_tokens,
                logprobs=0,
                seed=seed,
                detokenize=False,
            )
            for seed in seeds
        ]
        requests = [{"prompt_token_ids": prompt.tolist()} for prompt in prompts]
        outputs = self.llm.generate(requests, settings, use_tqdm=False)
        return sum(len(completion.token_ids) for output in outputs for completion in output.outputs)


def run_pipeline(
    staleness: int, steps: int, overrides: list[str]
) -> tuple[TrainConfig, dict[str, float], Batches]:
    """Train; tokens a second after the first three steps, and the rows of each wave."""
    with trained(steps, [*overrides, f"rollout.max_staleness={staleness}"]) as config:
        records = records_of(config)
        log = EventLog(config.run.path / "posterior" / "log.jsonl")
        batches = {event["step"]: event["rows"] for event in log.replay() if event["do"] == "observe"}
    tokens = sum(record["tokens"] for record in records)
    busy = sum(record["engine_busy_share"] * record["seconds"] for record in records)
    step = sum(record["seconds"] for record in records)
    return config, {"engines": tokens / busy, "step": tokens / step}, batches


def run_plain(config: TrainConfig, batches: Batches) -> float:
    """Tokens a second of the same requests, wave by wave, with nothing around the engines."""
    inputs = load_inputs(config)
    environment = {"env_vars": engine_environment(config.rollout.threads, on_gpu=False)}
    # Not one that happens to run on this machine.
    ray.init("local", include_dashboard=False, logging_level="error", log_to_driver=False)
    actor = PlainEngine.options(num_cpus=config.rollout.cpus, runtime_env=environment)
    engines = [actor.remote(inputs.model, config.rollout) for _ in range(config.rollout.engines)]
    tokens, seconds = 0, 0.0
    for wave, rows in batches.items():
        order = sorted(rows, key=lambda row: len(inputs.train.prompts[row]))
        parts = [order[i :: len(engines)] for i in range(len(engines))]
        started = time.perf_counter()
        counts = ray.get(
            [
                engine.generate.remote(
                    [inputs.train.prompts[row] for row in part],
                    [request_seed(config.run.seed, wave, row) for row in part],
                )
                for engine, part in zip(engines, parts, strict=True)
            ]
        )
        if wave > WARM_UP:  # the first ones warm the engines up, here and in the pipeline
            tokens += sum(counts)
            seconds += time.perf_counter() - started
    ray.shutdown()
    return tokens / seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--staleness", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    runs = [run_pipeline(k, options.steps, options.overrides) for k in options.staleness]
    config, _, batches = runs[0]
    plain = run_plain(config, batches)
    print(f"{'':5}{'engines':>16}{'step':>16}{'plain':>10}")
    for k, (_, figures, _) in zip(options.staleness, runs, strict=True):
        cells = "".join(f"{value:>8,.0f} ({value / plain:>4.0%})" for value in figures.values())
        print(f"k = {k}{cells}{plain:>10,.0f}")
    results = [{"k": k, **f} for k, (_, f, _) in zip(options.staleness, runs, strict=True)]
    print(json.dumps({"plain": plain, "runs": results}))


if __name__ == "__main__":
    main()
