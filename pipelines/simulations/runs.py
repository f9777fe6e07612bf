"""Reads finished train jobs, for fitting and checking the simulator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from bots.allocation import EVEN
from bots.config.train import TrainConfig, load_config
from bots.config.tree import ConfigError
from bots.metrics import Curve
from bots.simulation.fit import FittedTasks, RewardHistory
from pipelines.shared.job_folder import CONFIG, POOL
from pipelines.shared.summary import read_metrics

BANDS = 10
"""Number of cells, by mean anchor, of a domain without levels."""


@dataclass(frozen=True)
class RealRun:
    """One run. etr, reward: float64 (S,), effective task ratio and mean reward of its batches."""

    name: str
    config: TrainConfig
    groups: RewardHistory
    score: Curve | None
    etr: npt.NDArray[np.float64]
    reward: npt.NDArray[np.float64]


def read_runs(folders: Sequence[Path]) -> tuple[FittedTasks, list[RealRun]]:
    """The common pool and the runs, in the order of the folders.

    Raises ConfigError for a folder without rollouts, runs of different pools or models, or a pool without anchors.
    """
    runs, pools = [], []
    for folder in folders:
        if not (folder / CONFIG).exists() or not (folder / POOL).exists():
            raise ConfigError(f"{folder} is not the folder of a train job")
        with _reading(folder):
            with ipc.open_file(str(folder / POOL)) as file:
                pools.append(file.read_all())
            runs.append(_read(folder, pools[-1]["id"].to_pylist()))
        if pools[-1]["id"].to_pylist() != pools[0]["id"].to_pylist():
            raise ConfigError(f"{folder} trained on another pool than {folders[0]}; fit runs of one pool")
        if runs[-1].config.model.path != runs[0].config.model.path:
            raise ConfigError(f"{folder} started from another model than {folders[0]}")
    return _tasks(pools[0], str(folders[0])), runs


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turn whatever a damaged file raises into a ConfigError that names the run."""
    try:
        yield
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, pa.ArrowException) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise ConfigError(
            f"the run {folder} is damaged, or of another version: {what}; leave it out, or repeat it"
        ) from error


def _tasks(pool: pa.Table, source: str) -> FittedTasks:
    if not {"weak", "strong"} <= set(pool.column_names):
        raise ConfigError(f"{source}: the pool has no anchors `weak` and `strong`; the fit needs them")
    weak, strong = (pool[name].to_numpy().astype(np.float64) for name in ("weak", "strong"))
    domain = pool["domain"].to_pylist()
    domains = sorted(set(domain))
    code = np.array([domains.index(name) for name in domain])
    level = pool["level"].to_numpy() if "level" in pool.column_names else _bands(code, (weak + strong) / 2)
    keys, cell = np.unique(np.stack([code, level]), axis=1, return_inverse=True)
    return FittedTasks(domains, keys[0].astype(np.int64), cell.ravel(), weak, strong, _samples(weak, strong))


def _bands(code: npt.NDArray[np.int64], mean: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    band = np.full(len(mean), -1)
    for domain in np.unique(code):
        known = (code == domain) & ~np.isnan(mean)
        edges = np.quantile(mean[known], np.linspace(0, 1, BANDS + 1)[1:-1]) if known.any() else []
        band[known] = np.searchsorted(edges, mean[known], side="right")
    return band


def _samples(weak: npt.NDArray[np.float64], strong: npt.NDArray[np.float64]) -> int:
    """Samples behind the pass rates: the smallest n for which all of them are multiples of 1/n."""
    rates = np.concatenate([weak, strong])
    rates = rates[~np.isnan(rates)]
    for samples in range(1, 257):
        if np.allclose(rates * samples, np.rint(rates * samples), atol=1e-4):
            return samples
    return 256


def _read(folder: Path, ids: Sequence[str]) -> RealRun:
    config = load_config(folder / CONFIG)
    files = sorted((folder / "rollouts").glob("*.parquet"))
    if not files:
        raise ConfigError(f"{folder} kept no rollouts (run.keep_rollouts); the fit needs them")
    table = pa.concat_tables([pq.read_table(file, columns=["step", "task", "reward"]) for file in files])
    n = config.rollout.samples
    if config.selection.allocation != EVEN:
        raise ConfigError(
            f"{folder} has selection.allocation {config.selection.allocation}; the fit needs groups of one size"
        )
    row = {task: number for number, task in enumerate(ids)}
    task = np.array([row[name] for name in table["task"].to_pylist()], np.int64).reshape(-1, n)
    rewards = table["reward"].to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, n)
    step = table["step"].to_numpy().astype(np.int64).reshape(-1, n)[:, 0] - 1
    if not (task == task[:, :1]).all():
        raise ConfigError(f"{folder}: its rollouts are not in groups of rollout.samples = {n}")
    graded = ~np.isnan(rewards).any(axis=1)  # dropped groups were not trained on
    records = read_metrics(folder)
    scored = [(record["step"], record["score"]) for record in records if "score" in record]
    steps = [record for record in records if record["step"] > 0]
    return RealRun(
        folder.name,
        config,
        RewardHistory(step[graded], task[graded, 0], rewards[graded], config.learner.warmup_steps),
        Curve(*np.array(scored, np.float64).T) if scored else None,
        np.array([record["etr"] for record in steps]),
        np.array([record["reward"] for record in steps]),
    )
