"""One prefill per group on a CPU: completions of one prompt that start in the same engine step compute it once.

vLLM's prefix cache shares full blocks of keys and values only. What a prompt has beyond its last full block, and all of
a prompt shorter than a block, is computed for every completion. Here it is computed for one of them, and the others get
a copy of its keys, values and hidden states. Tokens and log-probabilities are bit-identical.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from vllm.forward_context import get_forward_context, override_forward_context


def install(runner: Any) -> None:
    """Let vLLM's model runner compute equal prompts once. Only where `cpu_decode` supports its model and settings."""
    remove(runner)
    runner._model_forward = Once(runner, runner._model_forward)


def remove(runner: Any) -> None:
    """Restore vLLM's own forward pass."""
    vars(runner).pop("_model_forward", None)


@dataclass
class _Plan:
    """What to compute of a step.

    - rows: requests that are computed.
    - tokens: their tokens, as places among all tokens of the step.
    - expanded: for each token of the step, its place in `tokens`, or that of the one with the same result.
    - sources, copies: blocks of the cache, and those that get their contents.
    """

    rows: list[int]
    tokens: torch.Tensor
    expanded: torch.Tensor
    sources: list[int]
    copies: list[int]


class Once:
    """In place of the runner's `_model_forward`."""

    def __init__(self, runner: Any, forward: Callable[..., torch.Tensor]) -> None:
        self._forward = forward
        group = runner.attn_groups[0][0]
        self._builder, self._layers = group.get_metadata_builder(), group.layer_names

    def __call__(self, **inputs: Any) -> torch.Tensor:
        """Hidden states of all tokens of the step."""
        context = get_forward_context()
        metadata = context.attn_metadata
        if isinstance(metadata, dict) and {name for name in inputs if inputs[name] is not None} == {
            "input_ids",
            "positions",
        }:
            plan = self._plan(inputs["input_ids"], inputs["positions"], metadata[self._layers[0]])
            if plan is not None:
                return self._compute(plan, context, inputs)
        return self._forward(**inputs)

    def _plan(self, input_ids: torch.Tensor, positions: torch.Tensor, metadata: Any) -> _Plan | None:
        """None if no prompt is repeated."""
        if metadata.max_query_len == 1 or len(input_ids) != metadata.num_actual_tokens:
            return None
        ids, starts, blocks = (
            input_ids.numpy(),
            metadata.query_start_loc.tolist(),
            metadata.block_table.numpy(),
        )
        size = self._builder.block_size
        # Among the tokens that are computed, where those of each request start.
        place = {}
        first_with: dict[tuple[bytes, bytes], int] = {}
        rows, expanded = [], np.empty(len(ids), np.int64)
        sources: list[int] = []
        copies: list[int] = []
        count = 0
        for row, (start, end) in enumerate(pairwise(starts)):
            first = row
            cached, rest = divmod(int(positions[start]), size)
            if end - start > 1 and not rest:
                # The same tokens after the same cached blocks.
                key = blocks[row, :cached].tobytes(), ids[start:end].tobytes()
                first = first_with.setdefault(key, row)
            if first == row:
                rows.append(row)
                place[row] = count
                count += end - start
            else:
                own = slice(cached, cached - (start - end) // size)
                sources += blocks[first, own].tolist()
                copies += blocks[row, own].tolist()
            expanded[start:end] = np.arange(place[first], place[first] + end - start)
        if not copies:
            return None
        tokens = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])
        return _Plan(rows, torch.from_numpy(tokens), torch.from_numpy(expanded), sources, copies)

    def _compute(self, plan: _Plan, context: Any, inputs: dict[str, Any]) -> torch.Tensor:
        full = context.attn_metadata[self._layers[0]]
        starts = torch.zeros(len(plan.rows) + 1, dtype=torch.int32)
        starts[1:] = full.query_start_loc.diff()[plan.rows].cumsum(0)
        slots = full.slot_mapping[plan.tokens]
        metadata = self._builder.build(
            0,
            SimpleNamespace(
                num_reqs=len(plan.rows),
                num_actual_tokens=len(plan.tokens),
                max_query_len=full.max_query_len,
                max_seq_len=full.max_seq_len,
                query_start_loc=starts,
                seq_lens=full.seq_lens[plan.rows],
                block_table_tensor=full.block_table[plan.rows],
                slot_mapping=slots,
                causal=full.causal,
            ),
        )
        fewer = replace(
            context,
            attn_metadata=dict.fromkeys(self._layers, metadata),
            slot_mapping=dict.fromkeys(self._layers, slots),
        )
        few = {name: inputs[name][plan.tokens] for name in ("input_ids", "positions")}
        with override_forward_context(fewer):
            hidden = self._forward(**(inputs | few))
        for layer in self._layers:
            cache = context.no_compile_layers[layer].kv_cache
            cache[plan.copies] = cache[plan.sources]
        return hidden[plan.expanded]
