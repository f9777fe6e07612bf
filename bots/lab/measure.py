"""Measure a model's pass rates on lab tasks by sampling, in plain transformers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bots.lab.graders import GRADERS
from bots.lab.sampling import sample

_BATCH = 320  # sequences at once


def pass_rates(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, table: pa.Table, *, samples: int, seed: int
) -> npt.NDArray[np.float64]:
    """float64 (rows of `table`,): the mean reward of `samples` completions a task at temperature 1.

    table: columns prompt, answer and grader, as `bots.lab.pool.lab_table` makes them. A completion that does
    not end in time counts as wrong.
    """
    generator = torch.Generator().manual_seed(seed)
    tasks: list[dict[str, Any]] = table.select(["prompt", "answer", "grader"]).to_pylist()
    rewards = np.zeros((len(tasks), samples))
    # Tasks of one length in one batch: the shortest padding and the fewest steps after a sequence's end.
    order = sorted(range(len(tasks)), key=lambda row: (tasks[row]["grader"], len(tasks[row]["prompt"])))
    per_batch = max(1, _BATCH // samples)
    for start in range(0, len(order), per_batch):
        rows = order[start : start + per_batch]
        prompts = [tasks[row]["prompt"] for row in rows for _ in range(samples)]
        completions = iter(sample(model, tokenizer, prompts, generator))
        for row in rows:
            task = tasks[row]
            for n in range(samples):
                completion = next(completions)
                if completion is not None:
                    grade = GRADERS[task["grader"]](task["prompt"], task["answer"], completion)
                    rewards[row, n] = grade.reward
    means: npt.NDArray[np.float64] = rewards.mean(axis=1)
    return means


def by_level(table: pa.Table, rates: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, list[float]]:
    """Mean of `rates` for each domain, level by level from the lowest to the highest in `table`."""
    domains = np.array(table["domain"].to_pylist())
    levels = np.array(table["level"].to_pylist())
    values = np.asarray(rates, dtype=np.float64)
    result = {}
    for domain in dict.fromkeys(domains.tolist()):
        inside = domains == domain
        result[domain] = [
            round(float(values[inside & (levels == level)].mean()), 3) for level in np.unique(levels[inside])
        ]
    return result
