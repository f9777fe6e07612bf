"""Log-probabilities of completion tokens from hidden states, without ever holding tokens x vocabulary.

The plain form keeps about four float32 copies of the logits until the backward pass: 41 GB for 16,384 tokens and a
vocabulary of 152,064. Here the output head works through the vocabulary in blocks, forward and backward, and at
completion positions only. The log-sum-exp of all blocks is known after the forward pass, so a block's gradient needs
only its own logits, computed again, and every row of the weight's gradient is one sum over all tokens, rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


def completion_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float,
    bias: Tensor | None = None,
    block_bytes: int = 128 * 2**20,
    kept_bytes: int = 512 * 2**20,
) -> Tensor:
    """log softmax(hidden · weightᵀ + bias)/temperature at `targets`, float32 (n,).

    hidden: (n, width). weight: (vocabulary, width), bias: (vocabulary,), both of hidden's dtype. targets: int64 (n,).
    block_bytes: float32 logits of one block of the vocabulary. kept_bytes: logits that are kept for the backward pass
    rather than computed a second time.
    Forward and backward equal `token_logprobs` of the whole logits up to the order of float32 sums.
    """
    needs_backward = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    rows = max(1, block_bytes // (4 * max(1, len(hidden))))
    kept = kept_bytes if needs_backward else 0
    apply: Callable[..., Tensor] = _Blockwise.apply
    return apply(hidden, weight, bias, targets, temperature, rows, kept)


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        rows: int,
        kept_bytes: int,
    ) -> Tensor:
        total = hidden.new_full((len(hidden),), -torch.inf, dtype=torch.float32)
        chosen = torch.zeros_like(total)
        kept: list[Tensor] = []
        for start in range(0, len(weight), rows):
            logits = _logits(hidden, weight, bias, start, rows)
            if kept_bytes >= logits.numel() * logits.element_size():
                kept_bytes -= logits.numel() * logits.element_size()
                kept.append(logits)
            else:
                kept_bytes = 0
            scaled = logits.float() / temperature
            place, inside = _place(targets, start, scaled.shape[1])
            chosen = torch.where(inside, scaled.gather(1, place[:, None])[:, 0], chosen)
            total = torch.logaddexp(total, torch.logsumexp(scaled, 1))
        ctx.save_for_backward(hidden, weight, bias, targets, total, *kept)
        ctx.temperature, ctx.rows = temperature, rows
        return chosen - total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, total, *kept = ctx.saved_tensors
        upstream = outer[0] / ctx.temperature
        of_hidden = torch.zeros_like(hidden, dtype=torch.float32) if ctx.needs_input_grad[0] else None
        of_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        of_bias = torch.empty_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for number, start in enumerate(range(0, len(weight), ctx.rows)):
            end = start + ctx.rows
            logits = kept[number] if number < len(kept) else _logits(hidden, weight, bias, start, ctx.rows)
            # d log p(target) / d logits = (1[target] - p) / temperature
            slope = (logits.float() / ctx.temperature).sub_(total[:, None]).exp_()
            slope.mul_(-upstream[:, None])
            place, inside = _place(targets, start, slope.shape[1])
            slope.scatter_add_(1, place[:, None], (upstream * inside)[:, None])
            slope = slope.to(hidden.dtype)
            if of_hidden is not None:
                _add_product(of_hidden, slope, weight[start:end])
            if of_weight is not None:
                torch.mm(slope.t(), hidden, out=of_weight[start:end])
            if of_bias is not None:
                of_bias[start:end] = slope.sum(0)
        within = None if of_hidden is None else of_hidden.to(hidden.dtype)
        return within, of_weight, of_bias, None, None, None, None


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, start: int, rows: int) -> Tensor:
    block = None if bias is None else bias[start : start + rows]
    return nn.functional.linear(hidden, weight[start : start + rows], block)


def _place(targets: Tensor, start: int, size: int) -> tuple[Tensor, Tensor]:
    """Column of each target within a block, and whether it is in it."""
    place = targets - start
    return place.clamp(0, size - 1), (place >= 0) & (place < size)


def _add_product(total: Tensor, slope: Tensor, weight: Tensor) -> None:
    if slope.dtype == torch.float32:
        total.addmm_(slope, weight)
    else:
        total.add_(slope @ weight)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which log-probabilities a head is to return.

    positions: int64 (n,), indices into the hidden states, counted over all rows. targets: int64 (n,), the tokens.
    """

    positions: Tensor
    targets: Tensor
    temperature: float


class LogprobHead(nn.Linear):
    """An output head that returns log-probabilities in place of logits while `wanted` is set.

    It is one module call for a whole micro-batch, whatever its number of blocks: under ZeRO-3 ranks gather a module's
    parameters together, call by call, and would wait for each other for ever if one made more calls.
    """

    wanted: Wanted | None = None
    block_bytes = 128 * 2**20
    kept_bytes = 512 * 2**20

    @classmethod
    def around(cls, head: nn.Linear) -> LogprobHead:
        """A head with the very parameters of `head`."""
        with torch.device("meta"):
            made = cls(head.in_features, head.out_features, bias=head.bias is not None)
        made.weight, made.bias = head.weight, head.bias
        return made

    def forward(self, input: Tensor) -> Tensor:
        """Logits (…, vocabulary), or log-probabilities float32 (n,) of what is wanted."""
        if self.wanted is None:
            return super().forward(input)
        hidden = input.reshape(-1, input.shape[-1])[self.wanted.positions]
        sizes = self.block_bytes, self.kept_bytes
        wanted = self.wanted
        return completion_logprobs(hidden, self.weight, wanted.targets, wanted.temperature, self.bias, *sizes)


_AFTER_THE_HEAD = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


def install_head(policy: nn.Module) -> LogprobHead | None:
    """Give a causal language model a `LogprobHead` under the names of its own; None where that would not be exact.

    That is where something comes after the head (Gemma's soft-capping, Cohere's and Granite's scales) or the head is
    more than a linear layer; the plain form is then the right one.
    """
    model: Any = policy
    head = model.get_output_embeddings()
    config = model.config.get_text_config()
    if type(head) is not nn.Linear or any(
        getattr(config, key, None) not in (None, 1, 1.0) for key in _AFTER_THE_HEAD
    ):
        return None
    made = LogprobHead.around(head)
    model.set_output_embeddings(made)
    return made
