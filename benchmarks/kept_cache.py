"""What `rollout.keep_kv_cache` gains and costs: the lab at k = 1 without and with it, alternating in one invocation.

    python -m benchmarks.kept_cache [--rounds 3] [--steps 30] [section.key=value …]

Trains the lab as `benchmarks.overlap` does, with the same seed in every run. Prints, over the steps after the third:
  KL          mean between the sampling engine and the learner
  truncated   share of tokens whose importance weight reached `learner.importance_cap`
  again       tokens whose keys and values new weights dropped, to be computed again, over trained tokens
  tokens/s    trained tokens per second of wall-clock time; busy: share of time in engine steps
"""

from __future__ import annotations

import argparse
import json
import statistics

from benchmarks.overlap import records_of, trained


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    print(f"{'keeps':>6}{'KL':>11}{'truncated':>11}{'again':>8}{'tokens/s':>10}{'busy':>7}")
    for _ in range(options.rounds):
        for keeps in (False, True):
            overrides = [
                *options.overrides,
                "rollout.max_staleness=1",
                f"rollout.keep_kv_cache={keeps}".lower(),
            ]
            with trained(options.steps, overrides) as config:
                found[keeps].append(result := summarise(records_of(config)))
            print_line(str(keeps), result)
    for keeps, results in found.items():
        medians = {name: statistics.median(result[name] for result in results) for name in results[0]}
        print_line(f"{keeps}*", medians)
    print(json.dumps({str(keeps): results for keeps, results in found.items()}))


def summarise(records: list[dict[str, float]]) -> dict[str, float]:
    """Means over the steps; per token where they are about tokens."""
    seconds = sum(record["seconds"] for record in records)
    tokens = sum(record["tokens"] for record in records)

    def per_token(name: str) -> float:
        return sum(record[name] * record["tokens"] for record in records) / tokens

    return {
        "kl": per_token("mismatch_kl"),
        "truncated": per_token("truncated_share"),
        "again": sum(record["recomputed_tokens"] for record in records) / tokens,
        "tokens_per_s": tokens / seconds,
        "busy": sum(record["engine_busy_share"] * record["seconds"] for record in records) / seconds,
    }


def print_line(name: str, result: dict[str, float]) -> None:
    """One run, or with * the medians."""
    print(
        f"{name:>6}{result['kl']:>11.2e}{result['truncated']:>11.2e}{result['again']:>8.3f}"
        f"{result['tokens_per_s']:>10,.0f}{result['busy']:>7.0%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
