"""The lab's pool of tasks as an Arrow table, for training or for evaluation."""

from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bots.lab.families import FAMILIES, Problem
from bots.lab.split import Split, prompt_hash, split_of

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("domain", pa.string()),
        ("grader", pa.string()),
        ("level", pa.int32()),
    ]
)
ANCHORS_FILE = "anchors.parquet"
# After this many consecutive draws without a new prompt the level counts as exhausted.
_DRAWS_BEFORE_EMPTY = 2000


def lab_table(
    size: int,
    seed: int,
    *,
    domains: Sequence[str] = ("math", "logic", "code"),
    split: Split = "train",
    levels: Mapping[str, Sequence[int]] | Sequence[int] | None = None,
    anchors: bool = False,
) -> pa.Table:
    """A table of `size` lab tasks with distinct prompts, the same for the same arguments.

    Columns: `id` (string, `lab/<domain>/<hash of the prompt>`, the same on every machine), `prompt`,
    `answer`, `domain`, `grader` (strings), `level` (int32); with `anchors=True` also `weak` and `strong`
    (double, measured pass rates; null where a task was not measured). Rows are shuffled.

    domains: which families.
    split: training and evaluation prompts never overlap, whatever the seeds (see `bots.lab.split`).
    levels: which levels, for all domains or by domain; None means all. Every (domain, level) gets an equal
        part; if an easy level has fewer distinct prompts than its part, the others fill the rest.

    Raises ValueError for a size below 1, an unknown domain, split or level, and where the chosen levels have
    fewer than `size` distinct prompts.
    """
    if size < 1:
        raise ValueError(f"size is {size}, it must be at least 1")
    if split not in ("train", "eval"):
        raise ValueError(f"split is {split!r}, it must be 'train' or 'eval'")
    cells = _cells(domains, levels)
    rng = np.random.default_rng(seed)
    # In random order, so that a small table is a fair sample too.
    chosen = _draw([cells[i] for i in rng.permutation(len(cells))], size, split, rng)
    order = rng.permutation(len(chosen))
    rows = [chosen[i] for i in order]
    table = pa.table(
        {
            "id": [f"lab/{domain}/{prompt_hash(problem.prompt)}" for domain, _, problem in rows],
            "prompt": [problem.prompt for _, _, problem in rows],
            "answer": [problem.answer for _, _, problem in rows],
            "domain": [domain for domain, _, _ in rows],
            "grader": [FAMILIES[domain].grader for domain, _, _ in rows],
            "level": [level for _, level, _ in rows],
        },
        schema=SCHEMA,
    )
    return _join_anchors(table) if anchors else table


def _cells(
    domains: Sequence[str], levels: Mapping[str, Sequence[int]] | Sequence[int] | None
) -> list[tuple[str, int]]:
    if not domains or len(set(domains)) != len(domains):
        raise ValueError(f"domains is {list(domains)}, it must name at least one domain, each once")
    cells = []
    for domain in domains:
        if domain not in FAMILIES:
            raise ValueError(f"unknown domain {domain!r}, the lab has {', '.join(FAMILIES)}")
        highest = FAMILIES[domain].max_level
        if levels is None:
            wanted: Sequence[int] = range(1, highest + 1)
        elif isinstance(levels, Mapping):
            if domain not in levels:
                raise ValueError(f"levels has no entry for {domain!r}: {dict(levels)}")
            wanted = levels[domain]
        else:
            wanted = levels
        if not wanted or len(set(wanted)) != len(wanted):
            raise ValueError(f"levels of {domain!r} are {list(wanted)}, at least one is needed, each once")
        for level in wanted:
            if not 1 <= level <= highest:
                raise ValueError(f"level {level} of {domain!r} does not exist, it has 1 to {highest}")
            cells.append((domain, level))
    return cells


def _draw(
    cells: list[tuple[str, int]], size: int, split: Split, rng: np.random.Generator
) -> list[tuple[str, int, Problem]]:
    """Fill the cells in turn, so that they stay equal until one is exhausted."""
    chosen: list[tuple[str, int, Problem]] = []
    seen: set[str] = set()
    open_cells = list(cells)
    while len(chosen) < size:
        if not open_cells:
            raise ValueError(
                f"size is {size}, but the chosen domains and levels have about {len(chosen)} distinct "
                f"{split} prompts: lower size or allow higher levels"
            )
        for cell in list(open_cells):
            problem = _draw_new(cell, seen, split, rng)
            if problem is None:
                open_cells.remove(cell)
                continue
            seen.add(problem.prompt)
            chosen.append((*cell, problem))
            if len(chosen) == size:
                break
    return chosen


def _draw_new(
    cell: tuple[str, int], seen: set[str], split: Split, rng: np.random.Generator
) -> Problem | None:
    domain, level = cell
    for _ in range(_DRAWS_BEFORE_EMPTY):
        problem = FAMILIES[domain].sample(level, rng)
        if problem.prompt not in seen and split_of(problem.prompt) == split:
            return problem
    return None


def _join_anchors(table: pa.Table) -> pa.Table:
    source = files("bots.lab").joinpath(ANCHORS_FILE)
    if not source.is_file():
        raise FileNotFoundError(
            f"{source} does not exist: measure the anchors first (the anchors pipeline writes it), "
            "or ask for the table with anchors=False"
        )
    with source.open("rb") as file:
        measured = pq.read_table(file, columns=["id", "weak", "strong"])
    rows = pc.index_in(table["id"], value_set=measured["id"].combine_chunks())
    for name in ("weak", "strong"):
        table = table.append_column(name, measured[name].combine_chunks().take(rows.combine_chunks()))
    return table
