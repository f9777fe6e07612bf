"""Rows/s and peak memory of loading a pool of GURU's schema: `python benchmarks/loading.py --rows 1000000`.

Peak memory is the sum of the proportional set sizes of this process and all its children (Ray's included),
so that memory shared between them, the object store for one, counts once.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GROUP = 50_000


def write_guru(folder: Path, rows: int, prompt_bytes: int) -> None:
    """Parquet files in GURU's schema with random prompts of about `prompt_bytes` bytes."""
    rng = np.random.default_rng(0)
    letters = rng.integers(97, 123, GROUP * prompt_bytes, dtype=np.uint8)
    for number, start in enumerate(range(0, rows, GROUP)):
        count = min(GROUP, rows - start)
        ends = np.arange(count + 1, dtype=np.int32)
        text = pa.StringArray.from_buffers(
            count,
            pa.py_buffer(ends * np.int32(prompt_bytes)),
            pa.py_buffer(np.roll(letters, number).tobytes()),
        )
        messages = pa.StructArray.from_arrays([text, pa.repeat("user", count)], ["content", "role"])
        answers = pa.array(np.arange(start, start + count)).cast(pa.string())
        solved = rng.random((2, count))
        table = pa.table(
            {
                "data_source": pa.repeat("math__bench", count),
                "prompt": pa.ListArray.from_arrays(pa.array(ends), messages),
                "ability": pa.repeat("math", count),
                "reward_model": pa.StructArray.from_arrays(
                    [answers, pa.repeat("rule", count)], ["ground_truth", "style"]
                ),
                "solution": text,
                "qwen2.5_7b_pass_rate": pa.array(solved[0]),
                "qwen3_30b_pass_rate": pa.array(solved[1]),
            }
        )
        pq.write_table(table, folder / f"part-{number:04d}.parquet")


def write_json_lines(folder: Path) -> None:
    """The same tasks as JSON lines, with the answer and a grader at the top."""
    for file in sorted(folder.glob("*.parquet")):
        table = pq.read_table(file, columns=["prompt", "reward_model"])
        with (folder / f"{file.stem}.jsonl").open("w") as out:
            for row in table.to_pylist():
                task = {
                    "prompt": row["prompt"],
                    "answer": row["reward_model"]["ground_truth"],
                    "grader": "math",
                }
                out.write(json.dumps(task) + "\n")


class PeakMemory:
    """Samples the memory of this process and its descendants while it is open."""

    def __enter__(self) -> PeakMemory:
        self.peak, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self.peak = max(self.peak, sum(_proportional_bytes(pid) for pid in _family(os.getpid())))


def _family(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            children.setdefault(parent, []).append(int(entry.name))
    family = [root]
    for pid in family:
        family += children.get(pid, [])
    return family


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--prompt-bytes", type=int, default=300)
    parser.add_argument("--format", choices=["parquet", "jsonl"], default="parquet")
    parser.add_argument("--in-process", action="store_true", help="without Ray Data")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_guru(Path(folder), arguments.rows, arguments.prompt_bytes)
        if arguments.format == "jsonl":
            write_json_lines(Path(folder))
        import ray

        from bots.config.pool import PoolConfig
        from pipelines.shared.pool import build_pool

        if not arguments.in_process:
            # The blocks in flight are few; a store of 512 MiB shows that nothing piles up in it.
            ray.init(
                "local",
                num_cpus=2,
                object_store_memory=512 << 20,
                include_dashboard=False,
                logging_level="ERROR",
            )
        source = {"kind": arguments.format, "path": folder}
        config = PoolConfig.model_validate({"sources": [source]})
        started = time.perf_counter()
        with PeakMemory() as memory:
            pool = build_pool(config)
        seconds = time.perf_counter() - started
    result = {
        "rows": len(pool),
        "format": arguments.format,
        "through_ray_data": not arguments.in_process,
        "seconds": round(seconds, 2),
        "rows_per_s": round(len(pool) / seconds),
        "pool_mib": round(pool.table.nbytes / 2**20),
        "peak_mib": round(memory.peak / 2**20),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
