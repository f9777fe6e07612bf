"""The GURU data set's own names for its sources, and the domain and grader that each one needs.

Schema of LLM360/guru-RL-92k: `data_source` is `<ability>__<set>`, for example `codegen__leetcode2k`;
the ARC-AGI and BARC puzzles are filed under `logic` or, in older copies, `simulation`.
"""

from __future__ import annotations

import pyarrow as pa

SOURCE_COLUMN = "data_source"
WEAK, STRONG = "qwen2.5_7b_pass_rate", "qwen3_30b_pass_rate"
ANSWER = "reward_model.ground_truth"
DOMAINS = {
    "math": "math",
    "codegen": "code",
    "logic": "logic",
    "simulation__arcagi": "logic",
    "simulation__barc": "logic",
}
"""Start of a data source's name → domain; the grader has the domain's name."""


def is_guru(schema: pa.Schema) -> bool:
    """Whether a source with these columns follows GURU's schema."""
    return {SOURCE_COLUMN, "prompt", "reward_model"} <= set(schema.names)


def domain_of(data_source: str) -> str | None:
    """Domain and grader of a GURU data source; None for one that has no grader here (stem, table, …)."""
    for start, domain in DOMAINS.items():
        if data_source.startswith(start):
            return domain
    return None
