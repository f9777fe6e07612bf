"""Milliseconds of every built-in selector's `select` and `observe`, in alternating steps.

    python -m benchmarks.selector_steps [--tasks 92000] [--batch 256] [--rollouts 16] [--steps 40] [--only dps gps …]

The pool has anchors, levels, and embeddings of 64 numbers that show half of what makes a task hard. Half of the tasks
are mastered or hopeless. Every selector runs with its own defaults; medians and quartiles over the second half of the
steps, so that compiling and the first epoch do not count.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bots import BOTS, TaskPool
from bots.support.registry import names

WIDTH = 64


def make_pool(tasks: int, rng: np.random.Generator) -> tuple[TaskPool, npt.NDArray[np.float64]]:
    """The pool, and the policy's pass rates (tasks,)."""
    vectors = rng.normal(size=(tasks, WIDTH)).astype(np.float32)
    middling = 1 / (1 + np.exp(-vectors[:, 0].astype(np.float64) - rng.normal(size=tasks)))
    rates = np.where(rng.random(tasks) < 0.5, (rng.random(tasks) < 0.5).astype(np.float64), middling)
    columns = {
        "level": (4 * rates).astype(np.int64),
        "weak": rates * rng.uniform(0.5, 1, tasks),
        "strong": 1 - (1 - rates) * rng.uniform(0.5, 1, tasks),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH),
    }
    return TaskPool.from_arrow(pa.table(columns), weak="weak", strong="strong"), rates


def measure(options: argparse.Namespace) -> dict[str, npt.NDArray[np.float64]]:
    """Seconds by selector, float64 (2, steps): of select and of observe."""
    rng = np.random.default_rng(0)
    pool, rates = make_pool(options.tasks, rng)
    runs = {name: BOTS(pool, selector=name, rollouts=options.rollouts) for name in options.only}
    seconds = {name: np.empty((2, options.steps)) for name in runs}
    for step in range(options.steps):
        for name, bots in runs.items():
            started = time.perf_counter()
            rows = bots.select(options.batch, step=step)
            selected = time.perf_counter()
            rewards = (rng.random((len(rows), options.rollouts)) < rates[rows, None]).astype(np.float64)
            graded = time.perf_counter()
            bots.observe(rows, rewards, step=step)
            seconds[name][:, step] = selected - started, time.perf_counter() - graded
    return seconds


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("tasks", 92_000), ("batch", 256), ("rollouts", 16), ("steps", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", nargs="+", choices=names("selector"), default=names("selector"))
    options = parser.parse_args()
    print(
        f"{options.tasks:,} tasks, {options.batch} x {options.rollouts} completions; ms, median [quartiles]\n"
    )
    print("| selector | select | observe |\n|---|---|---|")
    for name, seconds in measure(options).items():
        late = 1e3 * seconds[:, options.steps // 2 :]
        cells = ["{1:.2f} [{0:.2f}, {2:.2f}]".format(*np.quantile(part, (0.25, 0.5, 0.75))) for part in late]
        print(f"| `{name}` | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
