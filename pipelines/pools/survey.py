"""What there is to know of a pool before a run: its rows, lengths, prompts and reference pass rates."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bots.pool import PoolError, TaskPool
from bots.rollouts.encoded_pool import PIECE
from bots.rollouts.stops import end_of_turn
from bots.rollouts.templates import PromptEncoder, TemplateError, prompt_text
from bots.sources.collect import SourceReport
from bots.support.natural_order import natural
from pipelines.shared.golds import GoldCheck
from pipelines.shared.prompts import encode

BINS = 10
QUANTILES = (0.0, 0.5, 0.95, 1.0)


@dataclass
class Lengths:
    """Tokens of the prompts of one domain, with the template's own.

    quantiles: the least, the median, the 95th percentile and the greatest. too_long: prompts that leave no room for a
    completion.
    """

    quantiles: tuple[int, ...]
    too_long: int


@dataclass
class Prompt:
    """One prompt as the model sees it. tokens: how many. grader, answer: what it is compared with, and by what."""

    id: str
    domain: str
    grader: str
    text: str
    tokens: int
    answer: str


@dataclass
class Rates:
    """Reference pass rates of one domain: how many are known, their means, and counts in ten equal bins of [0, 1]."""

    known: int
    weak_mean: float
    strong_mean: float
    weak: list[int]
    strong: list[int]


@dataclass
class Survey:
    """All that `bots pool` says of one pool.

    key: the pool's key in the configuration. refused: why a run would not take it as it is. ends: a sentence on
    what ends a completion. spelled: prompts whose text spells out special
    tokens, which are encoded as text.
    """

    key: str
    tasks: dict[str, int]
    reports: list[SourceReport]
    lengths: dict[str, Lengths] = field(default_factory=dict)
    prompts: list[Prompt] = field(default_factory=list)
    rates: dict[str, Rates] = field(default_factory=dict)
    golds: dict[str, GoldCheck] = field(default_factory=dict)
    graders: dict[str, dict[str, int]] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ends: str = ""
    spelled: int = 0

    @property
    def faults(self) -> int:
        """Reference answers that fail, either way."""
        return sum(check.failed + len(check.accepted) for check in self.golds.values())


def survey(key: str, pool: TaskPool, reports: list[SourceReport]) -> Survey:
    """What needs no tokenizer and no grader: counts by domain, graders, levels and reference pass rates."""
    codes, domains = pool.domain_codes, _domains(pool)
    tasks = {name: int((codes == code).sum()) for code, name in domains}
    found = Survey(key, tasks, reports)
    graders = np.array(pool.table["grader"].to_pylist(), object)
    for code, name in domains:
        values, counts = np.unique(graders[codes == code].astype(str), return_counts=True)
        found.graders[name] = dict(zip(values.tolist(), counts.tolist(), strict=True))
        if pool.has_anchors:
            found.rates[name] = _rates(pool.weak[codes == code], pool.strong[codes == code])
    if pool.has_levels:
        found.levels = {name: _levels(pool, codes == code) for code, name in domains}
    return found


def _domains(pool: TaskPool) -> list[tuple[int, str]]:
    """Code and name of every domain, in natural order of the names."""
    return sorted(enumerate(pool.domains), key=lambda domain: natural(domain[1]))


def measure(found: Survey, pool: TaskPool, tokenizer: Any, template: str | None, longest: int) -> None:
    """Add the lengths, three prompts as the model sees them and the end of a turn.

    longest: most tokens that leave room for a completion. Raises TemplateError for a template that is missing.
    """
    encoder = PromptEncoder(tokenizer, template)
    lengths = np.zeros(len(pool), np.int64)
    try:
        for start, column in _prompts(pool):
            lengths[start : start + len(column)] = encoder.lengths(column)
            found.spelled += sum(encoder.spells_special(prompt) for prompt in column)
    except TemplateError as error:
        found.refused.append(str(error))
        return
    for code, name in _domains(pool):
        own = lengths[pool.domain_codes == code]
        quantiles = tuple(int(q) for q in np.quantile(own, QUANTILES, method="higher"))
        found.lengths[name] = Lengths(quantiles, int((own > longest).sum()))
    too_long = sum(one.too_long for one in found.lengths.values())
    if too_long:
        found.refused.append(
            f"{too_long} prompts have more than {longest} tokens, which leaves no room for a completion: raise "
            "rollout.max_model_len, or set max_prompt_tokens to leave them out"
        )
    try:
        encode(pool, tokenizer, template, sys.maxsize)
    except PoolError as error:
        found.refused.append(str(error))
    end = end_of_turn(encoder)
    found.ends = (
        f"the template ends a completion with {end.text!r}"
        if end.text
        else f"a completion ends with the tokenizer's {tokenizer.eos_token!r}"
    )
    if found.spelled:
        found.notes.append(
            f"{found.spelled} prompts spell out special tokens of the tokenizer; they are encoded as plain text"
        )
    shown = _three(pool)
    for row, task in zip(shown, pool.take(shown, ["id", "prompt", "answer", "grader"]), strict=True):
        domain = pool.domains[pool.domain_codes[row]]
        text = encoder.render(task["prompt"])
        found.prompts.append(
            Prompt(task["id"], domain, task["grader"], text, int(lengths[row]), task["answer"])
        )
    _note_marks(found, pool)


def _note_marks(found: Survey, pool: TaskPool) -> None:
    """Note mathematics that does not say how the answer is to be marked."""
    rows = [
        row for row, name in enumerate(pool.table["grader"].slice(0, PIECE).to_pylist()) if name == "math"
    ]
    if not rows:
        return
    asked = [
        prompt_text(task["prompt"]) + _system(task["prompt"]) for task in pool.take(rows[:200], ["prompt"])
    ]
    if asked and not any(
        mark in text for text in asked for mark in ("\\boxed", "####", "<answer>", "final answer")
    ):
        found.notes.append(
            "no prompt says how to mark the answer (in \\boxed{}, say): the grader then looks for the last formula or "
            "number; `system: 'Put the final answer in \\boxed{}.'` for the source says it"
        )


def _system(prompt: Any) -> str:
    if isinstance(prompt, str):
        return ""
    return " ".join(message["content"] for message in prompt if message["role"] == "system")


def _prompts(pool: TaskPool) -> Iterator[tuple[int, list[Any]]]:
    for start in range(0, len(pool), PIECE):
        yield start, pool.table["prompt"].slice(start, PIECE).to_pylist()


def _three(pool: TaskPool) -> list[int]:
    """Three rows, of as many domains as there are."""
    first = [int(np.argmax(pool.domain_codes == code)) for code in range(len(pool.domains))][:3]
    others = [row for row in range(len(pool)) if row not in first]
    return sorted(first + others[: 3 - len(first)])


def _levels(pool: TaskPool, mask: npt.NDArray[np.bool_]) -> int:
    values = [value for value, own in zip(pool.table["level"].to_pylist(), mask, strict=True) if own]
    return len({value for value in values if value is not None})


def _rates(weak: npt.NDArray[np.float32], strong: npt.NDArray[np.float32]) -> Rates:
    both = ~np.isnan(weak + strong)
    weak, strong = weak[both], strong[both]
    if not both.any():
        return Rates(0, float("nan"), float("nan"), [0] * BINS, [0] * BINS)
    bins = np.linspace(0, 1, BINS + 1)
    return Rates(
        int(both.sum()),
        float(weak.mean()),
        float(strong.mean()),
        np.histogram(weak, bins)[0].tolist(),
        np.histogram(strong, bins)[0].tolist(),
    )
