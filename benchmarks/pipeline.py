"""Tokens a second inside the pipeline, against plain vLLM on the very same requests, in one run.

    python -m benchmarks.pipeline [--steps 20] [section.key=value …]

Trains the lab (configs/lab.yaml) for some steps, then gives the same prompts with the same seeds to the same number
of engines by nothing but `LLM.generate`, with the starting weights. Prints tokens a second of
  plain      both engines at once, nothing else running;
  engines    the pipeline's engines while they are at work (their steps' time, mean over the engines);
  generate   its generation phase as the learner sees it: new weights in, requests out, answers back and graded
             but for the last;
  step       whole training steps, learning and weight sync included, evaluation left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import ray
from vllm import SamplingParams

from actors.engine import Engine, prepare_process
from actors.environment import engine_environment
from bots.config import RolloutConfig, load_config
from bots.event_log import EventLog
from bots.learning.requests import request_seed
from pipelines.preparation import prepare
from pipelines.summary import read_metrics
from pipelines.train import train

LAB = Path(__file__).parents[1] / "configs" / "lab.yaml"


@ray.remote
class PlainEngine:
    """The same engine without anything around it."""

    def __init__(self, model: str, config: RolloutConfig) -> None:
        prepare_process()
        self.config = config
        self.llm = Engine(model, config).llm

    def generate(self, prompts: list[np.ndarray], seeds: list[int]) -> int:
        """Answer and count the tokens."""
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
        return sum(len(answer.token_ids) for output in outputs for answer in output.outputs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(
            LAB,
            [
                *options.overrides,
                f"run.steps={options.steps}",
                f"run.folder={folder}",
                "run.checkpoint_every=0",
                "evaluation.pool=null",
            ],
        )
        prepared = prepare(config)
        train(config)
        records = [record for record in read_metrics(config.run.path) if record["step"] > 1]
        log = EventLog(config.run.path / "posterior" / "log.jsonl")
        batches = {event["step"]: event["rows"] for event in log.replay() if event["do"] == "observe"}

    environment = {"env_vars": engine_environment(config.rollout.threads, on_gpu=False)}
    ray.init(include_dashboard=False, logging_level="error", log_to_driver=False)
    actor = PlainEngine.options(num_cpus=config.rollout.cpus, runtime_env=environment)
    engines = [actor.remote(prepared.model, config.rollout) for _ in range(config.rollout.engines)]
    tokens, seconds = 0, 0.0
    for step, rows in batches.items():
        order = sorted(rows, key=lambda row: len(prepared.train.prompts[row]))
        parts = [order[i :: len(engines)] for i in range(len(engines))]
        started = time.perf_counter()
        counts = ray.get(
            [
                engine.generate.remote(
                    [prepared.train.prompts[row] for row in part],
                    [request_seed(config.run.seed, step, row) for row in part],
                )
                for engine, part in zip(engines, parts, strict=True)
            ]
        )
        if step > 1:  # the first step warms the engines up, here and in the pipeline
            tokens += sum(counts)
            seconds += time.perf_counter() - started
    ray.shutdown()

    plain = tokens / seconds
    figures = {"plain": plain}
    spent = sum(record["tokens"] for record in records)
    busy = sum(record["engine_busy_share"] * record["seconds"] for record in records)
    figures["engines"] = spent / busy
    figures["generate"] = spent / sum(record["seconds/generate"] for record in records)
    figures["step"] = spent / sum(record["seconds"] for record in records)
    print(f"{'':10}{'tokens/s':>10}{'of plain':>10}")
    for name, value in figures.items():
        print(f"{name:10}{value:>10,.0f}{value / plain:>10.0%}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
