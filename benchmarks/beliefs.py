"""The state-space belief against the Beta update: speed, predictions of recorded runs, training in a world of cells.

    python -m benchmarks.beliefs speed [--tasks 92000 1000000 10000000] [--steps 12]
    python -m benchmarks.beliefs replay --recordings FOLDER [--embeddings FILE]
    python -m benchmarks.beliefs cells [--seeds 8] [--first 0] [--shapes 7,4,.25 3,12,.15] [--temper .25 1]
    python -m benchmarks.beliefs embeddings [--seeds 8]
    python -m benchmarks.beliefs figure --out FILE.png

speed: select(256) and observe, one step at a time. The beliefs take turns in one process, so that other load affects
all of them. Medians over the steps after the third, with quartiles of the paired ratios, and bytes per task.

replay: predictions one step ahead, against the groups that a real run then sampled. FOLDER holds pairs NAME_RUN.parquet
(step, row, successes, rollouts) and NAME_pool.parquet (id, domain, level, and weak and strong if known). With a file
that `bots embed` wrote also from embeddings beside levels, from embeddings and domains, and from domains alone.

cells: many cells (domain x level), no reference models, and a policy that quickly learns the selected tasks. `share` is
a belief's gain over random selection, divided by the gain of knowing every cell's mean. --temper: with these factors of
the variance that is drawn, too.

embeddings: 40 steps of 16 x 8 on 4,000 tasks of two domains, whose embeddings say much, something of each domain's own,
or nothing about how hard they are; with the embedding as a feature and without.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

# As Ray sets it for the posterior actor: threads of BLAS cost more than they gain on matrices so small.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bots import BOTS, TaskPool
from bots.metrics import paired_difference

BATCH, ROLLOUTS, WARM_UP = 256, 16, 3
BELIEFS: dict[str, dict[str, Any]] = {
    # The uniform prior also where anchors are known, as docs/beliefs.md has it.
    "beta": {"belief": "beta", "prior": (1.0, 1.0)},
    "state_space": {"belief": "state_space"},
    "state_space, gain": {"belief": "state_space", "belief_options": {"gain": True}},
}
Floats = npt.NDArray[np.float64]
SHAPES = [(7, 4, 0.25), (4, 6, 0.25), (12, 3, 0.25), (3, 12, 0.15), (1, 28, 0.25), (7, 4, 0.1)]
"""Domains, levels and rate of learning of the worlds."""


def sigmoid(x: Floats) -> Floats:
    """1/(1 + exp(-x))."""
    value: Floats = 0.5 * (1 + np.tanh(x / 2))
    return value


def speed(sizes: list[int], steps: int) -> None:
    """Seconds of a step, alternating."""
    for tasks in sizes:
        rng = np.random.default_rng(0)
        hidden = rng.normal(-1, 2, tasks)
        noise = rng.normal(0, 1, (2, tasks))
        table = pa.table(
            {
                "domain": pa.DictionaryArray.from_arrays(
                    rng.integers(0, 4, tasks).astype(np.int32), list("abcd")
                ),
                "level": rng.integers(1, 13, tasks),
                "weak": np.round(16 * sigmoid(hidden - 1 + noise[0])) / 16,
                "strong": np.round(16 * sigmoid(hidden + 2 + noise[1])) / 16,
            }
        )
        pool = TaskPool.from_arrow(table, weak="weak", strong="strong")
        crowding = BELIEFS["state_space"] | {"belief_options": {"crowding": 0.25}}
        timed = {name: BELIEFS[name] for name in ("beta", "state_space")} | {"crowding": crowding}
        beliefs = {name: BOTS(pool, rollouts=ROLLOUTS, **settings) for name, settings in timed.items()}
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in beliefs}
        for _ in range(steps):
            for name, bots in beliefs.items():
                started = time.perf_counter()
                rows = bots.select(BATCH)
                selected = time.perf_counter()
                rewards = (rng.random((BATCH, ROLLOUTS)) < sigmoid(hidden[rows])[:, None]).astype(np.float64)
                observing = time.perf_counter()
                bots.observe(rows, rewards)
                seconds[name].append((selected - started, time.perf_counter() - observing))
        taken = {name: np.array(values[WARM_UP:]) * 1000 for name, values in seconds.items()}
        for name, values in taken.items():
            select, observe = np.median(values, axis=0)
            print(f"{tasks:>10,} {name:12} select {select:8.2f} ms  observe {observe:8.2f} ms", flush=True)
        quartiles = {}
        for name in ("state_space", "crowding"):
            ratio = taken[name].sum(axis=1) / taken["beta"].sum(axis=1)
            quartiles[name] = "{1:.2f} [{0:.2f}, {2:.2f}]".format(*np.quantile(ratio, [0.25, 0.5, 0.75]))
        model = beliefs["state_space"]._parts.beliefs
        held = sum(column.nbytes for column in model.columns().values())
        extra = model.tasks.place.nbytes + model.blocked.nbytes
        size = (held + extra) / tasks
        print(
            f"{tasks:>10,} over beta: state_space {quartiles['state_space']}, crowding {quartiles['crowding']}; "
            f"{size:.0f} bytes a task"
        )


def batches(path: Path) -> Iterator[tuple[npt.NDArray[np.int64], Floats, npt.NDArray[np.int64]]]:
    """Rows, successes and rollouts of each step."""
    table = pq.read_table(path)
    step, row, successes, rollouts = (
        table[name].to_numpy() for name in ("step", "row", "successes", "rollouts")
    )
    for number in range(int(step.max()) + 1):
        of = step == number
        yield row[of].astype(np.int64), successes[of].astype(np.float64), rollouts[of].astype(np.int64)


def replay(folder: Path, embeddings: Path | None) -> None:
    """Brier scores of one-step-ahead predictions, by what is known of the tasks beforehand."""
    for path in sorted(folder.glob("*.parquet")):
        pool_path = folder / f"{path.stem.split('_')[0]}_pool.parquet"
        if path == pool_path or not pool_path.exists():
            continue
        table = pq.read_table(pool_path)
        bare = table.drop_columns([n for n in ("weak", "strong") if n in table.schema.names])
        pools = {"none": TaskPool.from_arrow(bare)}
        if bare.num_columns < table.num_columns:
            pools = {"anchors": TaskPool.from_arrow(table, weak="weak", strong="strong"), **pools}
        for known, pool in pools.items():
            for name in ("beta", "state_space"):
                _predict_ahead(path, pool, known, name, BELIEFS[name])
        if embeddings is None or (joined := _joined(bare, pq.read_table(embeddings))) is None:
            continue
        pool = TaskPool.from_arrow(joined)
        for known, options in (
            ("embeddings", {"features": ["embedding"]}),
            ("domains, emb.", {"features": ["embedding"], "columns": []}),
            ("domains", {"features": [], "columns": []}),
        ):
            settings = {"belief": "state_space", "belief_options": options}
            _predict_ahead(path, pool, known, "state_space", settings)


def _joined(table: pa.Table, measured: pa.Table) -> pa.Table | None:
    """The pool with its embeddings; None where the file has none of its tasks."""
    where = pc.index_in(table["id"], value_set=measured["id"].combine_chunks()).combine_chunks()
    if where.null_count == len(where):
        return None
    return table.append_column("embedding", measured["embedding"].combine_chunks().take(where))


def _predict_ahead(path: Path, pool: TaskPool, known: str, name: str, settings: dict[str, Any]) -> None:
    bots = BOTS(pool, rollouts=8, **settings)
    predicted, observed, at = [], [], []
    for step, (rows, successes, rollouts) in enumerate(batches(path)):
        predicted.append(bots.predict_mean(rows))
        observed.append(successes / rollouts)
        at.append(np.full(len(rows), step))
        bots.mark_selected(rows, step)
        rewards = [(np.arange(n) < s).astype(np.float64) for n, s in zip(rollouts, successes, strict=True)]
        bots.observe(rows, rewards, step=step)
    error, when = np.concatenate(predicted) - np.concatenate(observed), np.concatenate(at)
    late = when > when.max() / 2
    print(
        f"{path.stem:16} {known:13} {name:12} Brier {np.mean(error**2):.4f}, "
        f"second half {np.mean(error[late] ** 2):.4f}, bias there {error[late].mean():+.3f}",
        flush=True,
    )


class CellRun(NamedTuple):
    """effective: mean effective task ratio. final: the pool's mean pass rate at the end.

    open, asked: bool (60, C), whether a cell's mean pass rate was from .25 to .75 at a step, whether it was selected.
    rates: (60, C), the cells' mean pass rates.
    """

    effective: float
    final: float
    open: npt.NDArray[np.bool_]
    asked: npt.NDArray[np.bool_]
    rates: Floats


def longest_waits(run: CellRun) -> npt.NDArray[np.int64]:
    """For each cell that was open, the most steps in a row that it was open and not selected."""
    waits = []
    for is_open, asked in zip(run.open.T, run.asked.T, strict=True):
        longest = current = 0
        for waiting in is_open & ~asked:
            current = current + 1 if waiting else 0
            longest = max(longest, current)
        if is_open.any():
            waits.append(longest)
    return np.array(waits, np.int64)


def train_in_cells(seed: int, shape: tuple[int, int, float], settings: dict[str, Any] | None) -> CellRun:
    """60 steps of 8 x 8. settings: of BOTS; None: the cells' oracle."""
    domains, levels, rate = shape
    rng = np.random.default_rng(seed)
    tasks, cells = 2000, domains * levels
    domain, level = rng.integers(0, domains, tasks), rng.integers(1, levels + 1, tasks)
    cell, of = domain * levels + level - 1, np.arange(cells) // levels
    easy, hard = rng.normal(-1.0, 0.6, cells), rng.normal(-4.5, 1.0, cells)
    skill = np.where(rng.random(cells) < 0.3, easy, hard) - 0.5 * (np.arange(cells) % levels)
    own = rng.normal(0, 0.7, tasks)
    table = pa.table({"domain": [f"d{d}" for d in domain], "level": pa.array(level, pa.int32())})
    bots = BOTS(TaskPool.from_arrow(table), rollouts=8, seed=seed, **(settings or BELIEFS["beta"]))
    effective = []
    is_open, asked, rates = np.zeros((60, cells), bool), np.zeros((60, cells), bool), np.zeros((60, cells))
    for step in range(60):
        rates[step] = sigmoid(skill)
        is_open[step] = np.abs(sigmoid(skill) - 0.5) <= 0.25
        if settings is None:
            nearest = np.argsort(np.abs(sigmoid(skill) - 0.5), kind="stable")
            rows = np.concatenate([rng.permutation(np.flatnonzero(cell == c)) for c in nearest])[:8]
        else:
            rows = bots.select(8)
        asked[step, cell[rows]] = True
        p = sigmoid(skill[cell[rows]] + own[rows])
        rewards = (rng.random((8, 8)) < p[:, None]).astype(np.float64)
        if settings is not None:
            bots.observe(rows, rewards)
        mean = rewards.mean(axis=1)
        effective.append(np.mean((mean > 0) & (mean < 1)))
        for c, signal in zip(cell[rows], 4 * mean * (1 - mean), strict=True):
            skill[c] += rate * signal
            skill[of == of[c]] += 0.06 * signal
            skill += 0.01 * signal
    final = float(sigmoid(skill[cell] + own).mean())
    return CellRun(float(np.mean(effective)), final, is_open, asked, rates)


def cells(shapes: list[tuple[int, int, float]], seeds: range, tempers: list[float]) -> None:
    """Final pass rates against random selection and the oracle's, paired by seed."""
    arms: dict[str, dict[str, Any] | None] = {"random": {"selector": "random"}, "oracle": None, **BELIEFS}
    for temper in tempers:
        arms[f"temper {temper:g}"] = {"belief": "state_space", "belief_options": {"temper": temper}}
    for shape in shapes:
        runs = {
            name: [train_in_cells(seed, shape, settings) for seed in seeds] for name, settings in arms.items()
        }
        finals = {name: np.array([run.final for run in of_arm]) for name, of_arm in runs.items()}
        random, oracle = finals["random"].mean(), finals["oracle"].mean()
        for name, of_arm in runs.items():
            mean, error = finals[name].mean(), finals[name].std(ddof=1) / len(seeds) ** 0.5
            waits = np.concatenate([longest_waits(run) for run in of_arm])
            print(
                f"{shape} {name:18} effective {np.mean([run.effective for run in of_arm]):.2f}  final {mean:.3f} ± "
                f"{error:.3f}  share {(mean - random) / (oracle - random):.2f}  longest wait of an open cell: median "
                f"{np.median(waits):.0f}, 90 % {np.quantile(waits, 0.9):.0f}, most {waits.max()} steps",
                flush=True,
            )
        difference = paired_difference(finals["state_space, gain"], finals["state_space"])
        print(
            f"{shape} gain - state_space {difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], paired"
        )


def predict_embedded(seed: int, kind: str, options: dict[str, Any]) -> tuple[float, float, float]:
    """Brier scores of the pass rates of tasks never asked, after selection by the belief and after random selection,
    and the effective share of the tasks that the belief selected.

    kind: how the logit hangs on the embedding: "shared", "by domain" (a direction for each), "none". Embeddings
    have 256 dimensions, with variances that fall as 1/rank; what they say has a deviation of 1.5 logits, what they
    don't say one of 1.
    """
    rng = np.random.default_rng(seed)
    tasks, dimensions = 4000, 256
    vectors = rng.normal(size=(tasks, dimensions)) / np.sqrt(np.arange(1, dimensions + 1))
    domain = rng.integers(0, 2, tasks)
    # Directions with more weight on the main axes, as difficulty has in the embeddings of language models.
    axes = rng.normal(size=(2, dimensions)) / np.sqrt(np.arange(1, dimensions + 1))
    said = np.einsum("ki,ki->k", vectors, axes[domain if kind == "by domain" else np.zeros_like(domain)])
    said *= 0.0 if kind == "none" else 1.5 / said.std()
    rates = sigmoid(-1.5 + said + rng.normal(0, 1.0, tasks))
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), dimensions)
    pool = TaskPool.from_arrow(pa.table({"domain": [f"d{d}" for d in domain], "embedding": lists}))
    scores, effective = [], []
    for selector in ("bots", "random"):
        bots = BOTS(
            pool, rollouts=8, seed=seed, selector=selector, belief="state_space", belief_options=options
        )
        for _ in range(40):
            rows = bots.select(16)
            rewards = (rng.random((16, 8)) < rates[rows, None]).astype(np.float64)
            mean = rewards.mean(axis=1)
            if selector == "bots":
                effective.append(np.mean((mean > 0) & (mean < 1)))
            bots.observe(rows, rewards)
        unseen = np.flatnonzero(bots.last_observed(np.arange(tasks)) < 0)
        scores.append(float(np.mean((bots.predict_mean(unseen) - rates[unseen]) ** 2)))
    return scores[0], scores[1], float(np.mean(effective))


def embeddings(seeds: int) -> None:
    """With the embedding as a feature minus without, paired by seed."""
    for kind in ("shared", "by domain", "none"):
        with_it, without = (
            np.array([predict_embedded(seed, kind, options) for seed in range(seeds)])
            for options in ({"features": ["embedding"]}, {"features": []})
        )
        for place, name in enumerate(("Brier, own selection", "Brier, random selection", "effective share")):
            difference = paired_difference(with_it[:, place], without[:, place])
            print(
                f"{kind:10} {name:26} with {with_it[:, place].mean():.4f}  without {without[:, place].mean():.4f}  "
                f"difference {difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]",
                flush=True,
            )


def figure(path: Path) -> None:
    """Draw the cells' true pass rates over time, and which cells were selected, under three selections of one seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = {"random": {"selector": "random"}, **{name: BELIEFS[name] for name in ("beta", "state_space")}}
    picture, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, constrained_layout=True)
    for axis, (name, settings) in zip(axes, names.items(), strict=True):
        run = train_in_cells(0, SHAPES[0], settings)
        shown = axis.imshow(
            run.rates.T, aspect="auto", cmap="RdYlGn", vmin=0, vmax=1, interpolation="nearest"
        )
        steps, at = np.nonzero(run.asked)
        axis.plot(steps, at, ".", color="black", markersize=2.5)
        axis.set(title=f"{name}: final pass rate {run.final:.2f}", xlabel="step")
    axes[0].set_ylabel("cell")
    picture.colorbar(shown, ax=axes, label="mean pass rate")
    picture.savefig(path, dpi=110)


def _shape(text: str) -> tuple[int, int, float]:
    domains, levels, rate = text.split(",")
    return int(domains), int(levels), float(rate)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    of = parser.add_subparsers(dest="what", required=True)
    timed = of.add_parser("speed")
    timed.add_argument("--tasks", type=int, nargs="+", default=[92_000, 1_000_000, 10_000_000])
    timed.add_argument("--steps", type=int, default=12)
    replayed = of.add_parser("replay")
    replayed.add_argument("--recordings", type=Path, required=True)
    replayed.add_argument("--embeddings", type=Path)
    world = of.add_parser("cells")
    world.add_argument("--seeds", type=int, default=8)
    world.add_argument("--first", type=int, default=0)
    world.add_argument("--shapes", type=_shape, nargs="+", default=SHAPES)
    world.add_argument("--temper", type=float, nargs="+", default=[])
    of.add_parser("embeddings").add_argument("--seeds", type=int, default=8)
    of.add_parser("figure").add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.what == "speed":
        speed(options.tasks, options.steps)
    elif options.what == "replay":
        replay(options.recordings, options.embeddings)
    elif options.what == "embeddings":
        embeddings(options.seeds)
    elif options.what == "figure":
        figure(options.out)
    else:
        cells(options.shapes, range(options.first, options.first + options.seeds), options.temper)


if __name__ == "__main__":
    main()
