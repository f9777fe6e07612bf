"""CPU time per token of an engine with `actors.cpu_shortcuts` over that without, alternating in one process.

    python -m benchmarks.engine_shortcuts [--waves 10] [--groups 16] [--prompts]

One engine on the lab's base model completes the same prompts with the same seeds both ways; the tokens must be equal.
With `--prompts` only `actors.cpu_prompts` is installed and removed. Each wave is then completed in the order one way,
the other, the other, the first, after once that does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

from actors.environment import engine_environment

os.environ.update(engine_environment(1, on_gpu=False))

from actors.loading import loading

with loading():
    from actors import cpu_decode, cpu_prompts, cpu_shortcuts
    from actors.engine import Engine, prepare_process

import numpy as np
from transformers import AutoTokenizer

from bots.config.train import RolloutConfig
from bots.lab.checkpoints import checkpoint_path
from bots.lab.pool import lab_table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--waves", type=int, default=10)
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--prompts", action="store_true")
    options = parser.parse_args()
    prepare_process()
    model = str(checkpoint_path("base"))
    engine = Engine(model, RolloutConfig(max_model_len=128, dtype="float32"))
    texts = lab_table(4000, 7)["prompt"].to_pylist()
    prompts = [np.array(ids, np.int32) for ids in AutoTokenizer.from_pretrained(model)(texts)["input_ids"]]
    runner = cpu_decode.parts(engine.llm)[1]
    ratios, costs = [], []
    for wave in range(options.waves + 2):
        some = np.random.default_rng(wave).choice(len(prompts), options.groups, replace=False)
        seconds: list[float] = [0.0, 0.0]
        tokens: list[list[list[int]]] = [[], []]
        order = [False, True]
        if options.prompts:
            order = [False, True, True, False] if wave % 2 else [True, False, False, True]
        for place, shortcuts in enumerate(order[:1] * options.prompts + order):
            if options.prompts:
                (cpu_prompts.install if shortcuts else cpu_prompts.remove)(runner)
                engine.llm.reset_prefix_cache()
            else:
                (cpu_shortcuts.install if shortcuts else cpu_shortcuts.remove)(engine.llm)
            started = time.process_time()
            found = engine.generate(
                [prompts[i] for i in some], 8, max_tokens=64, seeds=[int(i) for i in some]
            )
            if place or not options.prompts:
                seconds[shortcuts] += time.process_time() - started
            tokens[shortcuts] = [rollout.token_ids.tolist() for group in found for rollout in group]
        if tokens[0] != tokens[1]:
            raise SystemExit(f"wave {wave}: the tokens differ")
        if wave >= 2:
            ratios.append(seconds[1] / seconds[0])
            costs.append([1e6 * each / sum(map(len, tokens[0])) for each in seconds])
    before, after = (statistics.median(each) for each in zip(*costs, strict=True))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    if options.prompts:
        before, after = before / 2, after / 2
    one, other = (
        ("each prompt by itself", "equal prompts once")
        if options.prompts
        else ("vLLM's own", "with shortcuts")
    )
    print(
        f"CPU per token: {one} {before:.0f} us, {other} {after:.0f} us; "
        f"ratio {statistics.median(ratios):.2f} ({spread})"
    )


if __name__ == "__main__":
    main()
