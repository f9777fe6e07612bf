"""Prompts, reference answers and completions as the page shows them: truncated, with invisible characters escaped."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bots.config.pool import PoolConfig
from bots.sources.open import plan_parts

COMPLETIONS = 3
LONGEST = 2000
"""Number of characters shown of a prompt or completion."""
UNSEEN = ("Cc", "Cf", "Co", "Cn", "Zl", "Zp")
"""Unicode categories shown as code points: control, format, line separators …"""


class TaskText(NamedTuple):
    """A task's texts. truth: its reference answer."""

    prompt: str
    truth: str


def most_frequent(of_task: pa.Table, step: int) -> dict[str, Any]:
    """The most frequent completions of a task at a step, with their counts."""
    rows = of_task.filter(pc.equal(of_task["step"], step)).to_pylist()
    counts = Counter((r["answer"], r["reward"], r["reason"]) for r in rows)
    return {
        "step": step,
        "completions": len(rows),
        "tokens": float(np.mean([r["tokens"] for r in rows])),
        "shown": [
            {"text": visible(text), "reward": reward, "reason": visible(reason), "count": count}
            for (text, reward, reason), count in counts.most_common(COMPLETIONS)
        ],
    }


def read_texts(pool: Mapping[str, Any], ids: Sequence[str]) -> tuple[dict[str, TaskText], str | None]:
    """The tasks' texts by id, read again from the configured pool.

    The second value says why some are missing, if they are.
    """
    wanted = pa.array(ids, pa.string())
    found: dict[str, TaskText] = {}
    try:
        for part in plan_parts(PoolConfig.model_validate(pool))[1]:
            for piece in part.read():
                hits = piece.filter(pc.is_in(piece["id"], value_set=wanted))
                for row in hits.select(["id", "prompt", "answer"]).to_pylist():
                    text = TaskText(visible(_text(row["prompt"])), visible(str(row["answer"])))
                    found.setdefault(row["id"], text)
            if len(found) == len(ids):
                return found, None
    except (ValueError, LookupError, OSError, ImportError) as error:
        return found, f"Prompts are not shown because the pool cannot be read: {visible(str(error))}"
    lost = len(ids) - len(found)
    return (
        found,
        f"{lost} of the tasks are no longer in the configured pool, so their prompts are not shown.",
    )


def _text(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def visible(text: str) -> str:
    """The text with control and direction characters as code points, truncated to LONGEST characters."""
    shown = "".join(
        f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in UNSEEN and c not in "\n\t" else c
        for c in text[:LONGEST]
    )
    return shown if len(text) <= LONGEST else f"{shown} … ({len(text) - LONGEST:,} more characters)"
