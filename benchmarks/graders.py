"""How fast the graders are: samples per second, alone and in the pool of grading processes.

    python -m benchmarks.graders [--seconds 3] [--workers 2]

Prints one JSON line for each measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from itertools import count

from bots.graders import resolve
from bots.graders.worker import Item
from bots.graders.workers import Workers
from bots.sandbox import Sandbox

SCRIPT = "n = int(input())\nprint(sum(k * k for k in range(n)))"
FUNCTION = "class Solution:\n    def f(self, n: int) -> int:\n        return sum(k * k for k in range(n))"
CHECK = """\
def check(candidate):
    assert candidate(n = 10) == 285
    assert candidate(n = 3) == 5

check(Solution().f)
"""
GYM = {"question": "", "answer": "292", "metadata": {"source_dataset": "leg_counting", "source_index": 0}}


def fence(source: str) -> str:
    return f"```python\n{source}\n```"


def sample(name: str, number: int) -> Item:
    """A right completion. The numbers differ, so that no cache helps."""
    match name:
        case "math":
            return (name, "", rf"\frac{{{number}}}{{7}}", rf"so \boxed{{{number}/7}}")
        case "math (integer)":
            return ("math", "", str(number), rf"so \boxed{{{number}}}")
        case "logic":
            return (name, "", json.dumps(["a", "b", str(number)]), f"<answer>['a', 'b', '{number}']</answer>")
        case "exact":
            return (name, "", str(number), f"The answer is {number}")
        case "reasoning_gym":
            return (name, "", json.dumps(GYM), "<answer>292</answer>")
        case "lab_math":
            return (name, "", str(number), f"x;{number}")
        case "code (script, 1 test)":
            return (
                "code",
                "",
                json.dumps({"inputs": ["10"], "outputs": ["285"]}),
                fence(f"{SCRIPT} # {number}"),
            )
        case "code (script, 10 tests)":
            return ("code", "", json.dumps({"inputs": ["10"] * 10, "outputs": ["285"] * 10}), fence(SCRIPT))
        case "code (function, 2 calls)":
            return ("code", "", json.dumps({"functional": CHECK}), fence(FUNCTION))
    raise ValueError(name)


NAMES = (
    "lab_math", "exact", "logic", "math (integer)", "math", "reasoning_gym",
    "code (script, 1 test)", "code (script, 10 tests)", "code (function, 2 calls)",
)  # fmt: skip


def rate(batch: Callable[[], int], seconds: float) -> float:
    """Samples a second of `batch`, which grades some and says how many; after one batch of warming up."""
    batch()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        done += batch()
    return done / (time.perf_counter() - started)


def alone(name: str, seconds: float) -> float:
    numbers = count(1)
    grade = resolve(sample(name, 1)[0])

    def batch() -> int:
        for _ in range(8):
            if grade(*sample(name, next(numbers))[1:]).reward != 1.0:
                raise RuntimeError(f"{name}: a right completion was not graded as right")
        return 8

    return rate(batch, seconds)


def pooled(pool: Workers, name: str, seconds: float) -> float:
    numbers = count(10**6)

    def batch() -> int:
        items = [sample(name, next(numbers)) for _ in range(256)]
        if any(result.reward != 1.0 for result in pool.grade(items)):
            raise RuntimeError(f"{name}: a right completion was not graded as right")
        return len(items)

    return rate(batch, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    started = time.perf_counter()
    with Sandbox() as box:
        report("sandbox start", milliseconds=1e3 * (time.perf_counter() - started))
        report("sandbox, empty program", per_second=rate(lambda: bool(box.run("")), options.seconds))
    names = sorted({sample(name, 1)[0] for name in NAMES})
    started = time.perf_counter()
    with Workers(options.workers, time_limit=60.0, graders=names) as pool:
        report("pool start, all graders imported", milliseconds=1e3 * (time.perf_counter() - started))
        for name in NAMES:
            one, many = alone(name, options.seconds), pooled(pool, name, options.seconds)
            report(name, alone_per_second=one, pool_per_second=many, workers=options.workers)
        items = [sample("lab_math", number) for number in range(256)]
        times = []
        for _ in range(50):
            started = time.perf_counter()
            pool.grade(items)
            times.append(time.perf_counter() - started)
        report("256 lab samples", median_milliseconds=1e3 * sorted(times)[25])
        stats = pool.stats()
        report("pool", **stats)


def report(what: str, **values: float) -> None:
    print(json.dumps({"what": what, **{key: round(value, 2) for key, value in values.items()}}), flush=True)


if __name__ == "__main__":
    main()
