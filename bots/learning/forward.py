"""A micro-batch through the policy: the log-probability of every completion token."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bots.learning.batching import MicroBatch
from bots.learning.logprobs import LogprobHead, Wanted
from bots.learning.losses import token_logprobs

PLAIN_BYTES = 64 * 2**20
"""Logits of a padded micro-batch up to this size, float32, are made whole: for small models it is the faster way."""


def micro_batch_logprobs(
    model: nn.Module, head: LogprobHead | None, batch: MicroBatch, temperature: float, device: torch.device
) -> Tensor:
    """log π of the tokens that `batch.mask` has places for, float32 of its shape; where it is 0, no value counts.

    model: the policy, or what wraps it. head: its own, if it is one that can give log-probabilities.
    """
    token_ids = torch.from_numpy(batch.token_ids).to(device)
    inputs: dict[str, Any] = {"input_ids": token_ids, "use_cache": False}
    if batch.lengths is not None:
        inputs |= _packing(batch.lengths, device)
    elif head is None or 4 * batch.token_ids.size * head.out_features <= PLAIN_BYTES:
        # Padded on the right under a causal mask, no completion token ever sees padding: no mask is needed.
        logits = model(**inputs).logits
        return token_logprobs(logits[:, :-1], token_ids[:, 1:], temperature)
    positions = torch.from_numpy(batch.positions).to(device)
    targets = torch.from_numpy(batch.targets).to(device)
    if head is None:
        logits = model(**inputs).logits
        flat = token_logprobs(logits.flatten(0, 1)[positions], targets, temperature)
    else:
        head.wanted = Wanted(positions, targets, temperature)
        try:
            flat = model(**inputs).logits
        finally:
            head.wanted = None
    slots = torch.from_numpy(batch.slots).to(device)
    laid = torch.zeros(batch.mask.size, device=device).scatter(0, slots, flat)
    return laid.view(batch.mask.shape)


def _packing(lengths: np.ndarray[Any, Any], device: torch.device) -> dict[str, Any]:
    """Where packed samples begin, in the words of transformers' attention functions."""
    bounds = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)).to(device)
    places = np.concatenate([np.arange(length) for length in lengths])
    longest = int(lengths.max())
    return {
        "position_ids": torch.from_numpy(places)[None].to(device),
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }
