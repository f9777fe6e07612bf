"""The GURU data set's own names for its sources, and the domain and grader that each one needs.

Schema of LLM360/guru-RL-92k: `data_source` is `<ability>__<set>`, for example `codegen__leetcode2k`;
the ARC-AGI and BARC puzzles are filed under `logic` or, in older copies, `simulation`.
"""

from __future__ import annotations

import re

import pyarrow as pa

from bots.graders.registry import names

SOURCE_COLUMN = "data_source"
WEAK, STRONG = "qwen2.5_7b_pass_rate", "qwen3_30b_pass_rate"
ANSWER = "reward_model.ground_truth"
DOMAINS = {
    "math": ("math", "math"),
    "codegen": ("code", "code"),
    "logic": ("logic", "logic"),
    "simulation__arcagi": ("logic", "logic"),
    "simulation__barc": ("logic", "logic"),
    "simulation__codeio": ("simulation", "codeio"),
    "simulation__cruxeval": ("simulation", "cruxeval"),
    "table__": ("table", "table"),
    "stem__supergpqa": ("stem", "stem"),
    "stem__gpqa": ("stem", "stem"),
    "stem_web": ("stem", "judge"),
    # Of GURU's puzzles, before they were filed under `logic`.
    "zebra_puzzle_dataset": ("logic", "logic"),
    "ordering_puzzle_dataset": ("logic", "logic"),
    "graph_logical_dataset": ("logic", "logic"),
    # What other sets with verl's columns call themselves.
    "openai/gsm8k": ("math", "math"),
    "lighteval/MATH": ("math", "math"),
    "DigitalLearningGmbH/MATH": ("math", "math"),
    "HuggingFaceH4/MATH": ("math", "math"),
    "HuggingFaceH4/aime": ("math", "math"),
    "aime": ("math", "math"),
    "AIME": ("math", "math"),
    "amc": ("math", "math"),
    "numina_": ("math", "math"),
}
"""Start of a data source's name → domain and grader; the longest that fits counts."""
_REPEATED = re.compile(r"_repeated_\d+x\b")


def is_guru(schema: pa.Schema) -> bool:
    """Whether a source with these columns follows GURU's schema."""
    return {SOURCE_COLUMN, "prompt", "reward_model"} <= set(schema.names)


def domain_of(data_source: str | None) -> str | None:
    """Domain of a GURU data source; None for one that has no grader here."""
    found = _of(data_source)
    return found[0] if found else None


def grader_of(data_source: str | None) -> str | None:
    """Grader of a GURU data source; None for one that has none here."""
    found = _of(data_source)
    return found[1] if found else None


def is_repeated(data_source: str | None) -> bool:
    """Whether a set's name says that it holds each task several times, as `math__aime_repeated_8x` does."""
    return data_source is not None and bool(_REPEATED.search(data_source))


def _of(data_source: str | None) -> tuple[str, str] | None:
    if data_source is None:
        return None
    starts = [start for start in DOMAINS if data_source.startswith(start)]
    if not starts:
        return None
    domain, grader = DOMAINS[max(starts, key=len)]
    return (domain, grader) if grader in names() else None
