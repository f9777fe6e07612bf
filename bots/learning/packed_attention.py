"""Attention over samples that lie end to end in one row, each seeing itself only.

On GPUs in half precision it is torch's own variable-length FlashAttention; elsewhere each sample goes through
`scaled_dot_product_attention` by itself. Neither makes a mask of tokens x tokens, and neither needs a package more.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from bots.config.tree import ConfigError

NAME = "bots_packed"
"""The `attn_implementation` under which transformers knows it."""
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_PLACES = {"position_ids", "cache_position", "cu_seq_lens_k"}
"""Tensors that attention is handed and needs no more here."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sample; the signature is that of transformers' attention functions.

    query: (1, heads, T, width); key, value: (1, key heads, T, width). cu_seq_lens_q: int32 (samples + 1,), where the
    samples begin and end. sliding_window: how many tokens, itself included, a token sees. Returns (1, T, heads, width).
    Raises ValueError where the model doesn't say where samples begin, or asks for what this can't do.
    """
    if cu_seq_lens_q is None or max_length_q is None:
        raise ValueError(
            f"{type(module).__name__} doesn't hand on where packed samples begin; set learner.packing=false"
        )
    if softcap is not None or dropout:
        raise ValueError(
            f"{type(module).__name__} asks for soft-capped scores or dropout in attention, which packing can't do; "
            "set learner.packing=false"
        )
    unknown = [name for name, value in others.items() if isinstance(value, Tensor) and name not in _PLACES]
    if unknown:
        # Attention sinks, for example: left out, they would make the result another one.
        raise ValueError(
            f"{type(module).__name__} gives its attention {', '.join(unknown)}, which packing doesn't know; "
            "set learner.packing=false"
        )
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        return _flash(query, key, value, cu_seq_lens_q, max_length_q, scaling, sliding_window), None
    bounds = cu_seq_lens_q.tolist()
    parts = [
        _one(query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], scaling, sliding_window)
        for a, b in pairwise(bounds)
    ]
    return torch.cat(parts, 2).transpose(1, 2).contiguous(), None


def _one(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None) -> Tensor:
    length, mask = query.shape[2], None
    if window is not None and window < length:
        place = torch.arange(length, device=query.device)
        behind = place[:, None] - place[None]
        mask = (behind >= 0) & (behind < window)
    return nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))
    left = -1 if window is None else window - 1
    gqa = query.shape[1] != key.shape[1]
    out = varlen_attn(
        q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=(left, 0), enable_gqa=gqa
    )
    assert isinstance(out, Tensor)
    return out[None]


def register() -> str:
    """Make it known to transformers; returns its name there."""
    AttentionInterface.register(NAME, packed_attention)
    return NAME


def check_packable(config: Any, attention: str, path: str) -> None:
    """Raise ConfigError for a model whose layers would let one packed sample see another.

    config: the model's, of transformers. attention: `model.attention`.
    """
    text = config.get_text_config()
    if attention == "eager":
        raise ConfigError(
            "learner.packing is true, but model.attention is eager, which sees across samples; "
            "set model.attention=sdpa or learner.packing=false"
        )
    for key in ("attn_logit_softcapping", "attention_dropout"):
        if getattr(text, key, None):
            raise ConfigError(
                f"learner.packing is true, but the model {path!r} has {key} = {getattr(text, key)}, which packed "
                "attention can't do; set learner.packing=false"
            )
    others = sorted(set(getattr(text, "layer_types", None) or ()) - _KNOWN_LAYERS)
    if others:
        raise ConfigError(
            f"learner.packing is true, but the model {path!r} has layers of kind {', '.join(others)}, whose state "
            "would run from one sample into the next; set learner.packing=false"
        )
