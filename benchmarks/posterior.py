"""select(256) + observe of one step, ours and the BOTS reference's in one process on the same inputs.

    python -m benchmarks.posterior [--tasks 92000 1000000 10000000] [--steps 15] [--json FILE]

The reference is the selector of Trinity-RFT (PyPI `trinity-rft`). Its dependencies conflict with ours and are not
needed here, so it is installed without them, into a separate folder:

    pip install --no-deps --target build/trinity-rft trinity-rft==0.6.0

Only its modules `trinity.buffer.selector.difficulty_estimator` and `.selector` are loaded, unchanged. The four modules
that they import for type names and logging are replaced by stand-ins. Without the folder, the benchmark says so and
measures only ours.

Both start at the prior, with the same anchors, and get rewards from the same hidden pass rates. From then on they
differ, as each selects its own tasks. λ = ρ = 0.1, p* = 0.5, n = 16. A third is ours with self-tuned λ and ρ, the
default. Their steps alternate, so that other load on the machine affects all of them. The metrics are medians over the
steps after the third.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import time
import tracemalloc
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from bots import BOTS, TaskPool

BATCH, ROLLOUTS, WARM_UP = 256, 16, 3
INSTALL = "pip install --no-deps --target build/trinity-rft trinity-rft==0.6.0"
YARDSTICK = {92_000: 3, 1_000_000: 8, 10_000_000: 8}


def load_reference(folder: Path) -> Any:
    """The reference's DifficultyBasedSelector class, or None if it is not installed in the folder."""
    if not (folder / "trinity" / "buffer" / "selector" / "selector.py").exists():
        return None
    for package in ("trinity", "trinity.buffer", "trinity.buffer.selector"):
        module = types.ModuleType(package)
        module.__path__ = [str(folder.joinpath(*package.split(".")))]
        sys.modules[package] = module
    stand_ins: dict[str, dict[str, Any]] = {
        "trinity.buffer.reader.file_reader": {"_HFBatchReader": object},
        "trinity.common.config": {"DataSelectorConfig": object},
        "trinity.utils.annotations": {"Experimental": lambda cls: cls},
        "trinity.utils.log": {"get_logger": logging.getLogger},
    }
    for name, contents in stand_ins.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(contents)
    return importlib.import_module("trinity.buffer.selector.selector").DifficultyBasedSelector


def make_anchors(tasks: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Weak and strong pass rates with the mass at 0 and 1 that real pools have (float32)."""
    ability = rng.normal(0, 2.5, tasks).astype(np.float32)
    weak, strong = (1 / (1 + np.exp(-ability - shift)) for shift in (-1.0, 1.5))
    return (np.round(rate * 16) / 16 for rate in (weak, strong))  # type: ignore[return-value]


class Timer:
    """Milliseconds of the select and the observe calls."""

    def __init__(self) -> None:
        self.select: list[float] = []
        self.observe: list[float] = []

    def medians(self) -> tuple[float, float, float]:
        """Median of select, observe, and of their sum."""
        select, observe = np.array(self.select[WARM_UP:]), np.array(self.observe[WARM_UP:])
        return float(np.median(select)), float(np.median(observe)), float(np.median(select + observe))


def measure(tasks: int, steps: int, reference: Any) -> dict[str, float]:
    """One size: medians in ms, bytes a task, peak of temporary memory."""
    rng = np.random.default_rng(0)
    weak, strong = make_anchors(tasks, rng)
    truth = 0.5 * (weak + strong)
    pool = TaskPool.from_arrow(pa.table({"weak": weak, "strong": strong}), "weak", "strong")
    ours, tuned, theirs = Timer(), Timer(), Timer()
    bots = BOTS(pool, lam=0.1, rho=0.1, rollouts=ROLLOUTS, seed=0)
    by_itself = BOTS(pool, rollouts=ROLLOUTS, seed=0)
    other = None
    if reference is not None:
        keys = ["weak", "strong"]
        source = SimpleNamespace(dataset={"weak": weak, "strong": strong}, dataset_size=tasks)
        options = {"m": ROLLOUTS, "lamb": 0.1, "rho": 0.1, "do_sample": True, "target_reward": 0.5, "tau": 0}
        other = reference(source, SimpleNamespace(feature_keys=keys, kwargs=options, seed=0))

    def rewards(rows: np.ndarray) -> np.ndarray:
        return (rng.random((BATCH, ROLLOUTS)) < truth[rows][:, None]).astype(np.float64)

    for _ in range(steps + WARM_UP):
        for one, timer in ((by_itself, tuned), (bots, ours)):
            start = time.perf_counter()
            rows = one.select(BATCH)
            timer.select.append(1e3 * (time.perf_counter() - start))
            observed = rewards(rows)
            start = time.perf_counter()
            one.observe(rows, observed)
            timer.observe.append(1e3 * (time.perf_counter() - start))
        if other is None:
            continue
        start = time.perf_counter()
        indices = other.get_indices(BATCH)
        theirs.select.append(1e3 * (time.perf_counter() - start))
        rates = rewards(indices.numpy()).mean(axis=1)
        start = time.perf_counter()
        other.feedback(indices.tolist(), rates.tolist())
        theirs.observe.append(1e3 * (time.perf_counter() - start))

    tracemalloc.start()
    bots.observe(bots.select(BATCH), observed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    columns = ("alpha", "beta", "last_step", "observations", "dispersion", "blocked")
    held = sum(getattr(bots._parts.beliefs, name).nbytes for name in columns)
    names = ("select", "observe", "step")
    result = {f"ours_{name}_ms": value for name, value in zip(names, ours.medians(), strict=True)}
    result |= {f"self_tuned_{name}_ms": value for name, value in zip(names, tuned.medians(), strict=True)}
    if other is not None:
        result |= {f"reference_{name}_ms": v for name, v in zip(names, theirs.medians(), strict=True)}
        result["ratio"] = result["reference_step_ms"] / result["ours_step_ms"]
    return {"tasks": tasks, **result, "bytes_per_task": held / tasks, "temporary_mib": peak / 2**20}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, nargs="+", default=list(YARDSTICK))
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--reference", type=Path, default=Path("build/trinity-rft"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    reference = load_reference(arguments.reference)
    if reference is None:
        print(f"The reference is not in {arguments.reference}; ours alone. To compare: {INSTALL}\n")
    print(
        "     tasks | select observe   step ms | self-tuned select observe   step ms "
        "| reference select observe   step ms | ratio (goal) | bytes/task | temporary MiB"
    )
    results = []
    for tasks in arguments.tasks:
        r = measure(tasks, arguments.steps, reference)
        results.append(r)
        line = (
            f"{tasks:10,} | {r['ours_select_ms']:6.2f} {r['ours_observe_ms']:7.2f} {r['ours_step_ms']:9.2f}"
        )
        line += f" | {r['self_tuned_select_ms']:17.2f} {r['self_tuned_observe_ms']:7.2f} {r['self_tuned_step_ms']:9.2f}"
        if reference is not None:
            line += (
                f" | {r['reference_select_ms']:16.2f} {r['reference_observe_ms']:7.2f} "
                f"{r['reference_step_ms']:9.2f} | {r['ratio']:5.1f}"
            )
            line += f" ({YARDSTICK[tasks]:4})" if tasks in YARDSTICK else " " * 7
        print(f"{line} | {r['bytes_per_task']:10.1f} | {r['temporary_mib']:13.2f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
