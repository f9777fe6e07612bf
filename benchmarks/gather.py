"""Time and memory for ZeRO-3 ranks to gather weights: bucket by bucket, as a sync does, or the whole model at once.

    python -m benchmarks.gather [--sizes 10 100 500] [--ranks 2] [--rounds 3]

For each size (millions of parameters, float32, random, as in `benchmarks.sync`): seconds of the fastest round after the
first, and each rank's peak memory over all rounds, above the level before, in MiB. Rank 0 copies what it gathers.
Copies of a bucket are dropped before the next bucket, those of the whole model at the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from typing import Any

import ray

from benchmarks.sync import MIB, SHAPES, make_model, start_group


def measure(size: int, ranks: int, rounds: int) -> dict[str, Any]:
    """Both ways, each on ranks of its own: freed memory that a process keeps would not be seen in the other's peak."""
    with tempfile.TemporaryDirectory() as folder:
        line: dict[str, Any] = {"mib": make_model(size, folder) * 4 / MIB}
        for way, whole in (("bucket", False), ("whole", True)):
            group = start_group(ranks, 3, folder)
            seconds, peaks = [], []
            for _ in range(rounds + 1):
                told = ray.get([rank.gather.remote(whole) for rank in group])
                seconds.append(max(taken for taken, _ in told))
                peaks.append([peak for _, peak in told])
            line[f"{way} s"] = min(seconds[1:])
            line[f"{way} MiB by rank"] = [max(column) / MIB for column in zip(*peaks, strict=True)]
            for rank in group:
                ray.kill(rank)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ray.init("local", num_cpus=4, include_dashboard=False, logging_level="error", log_to_driver=False)
    for size in options.sizes:
        print(json.dumps(measure(size, options.ranks, options.rounds)), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
