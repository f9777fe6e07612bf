"""From graded groups to padded micro-batches: equal work for every rank, no more padding than needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bots.learning.advantages import ADVANTAGES
from bots.learning.losses import LossScale
from bots.rollouts.rollout import Group


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Samples that go through the model together, padded on the right.

    token_ids: int64 (b, T), prompt then answer then padding.
    mask: float32 (b, T - 1), 1 where the *next* token is part of the answer.
    sampler_logprobs: float32 (b, T - 1), vLLM's log-probability of that next token, 0 elsewhere.
    advantages: float32 (b,).
    """

    token_ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.float32]
    sampler_logprobs: npt.NDArray[np.float32]
    advantages: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RankBatch:
    """One rank's part of a batch: micro-batches, and the counts of the whole batch."""

    micro_batches: list[MicroBatch]
    scale: LossScale


@dataclass(frozen=True, slots=True)
class _Sample:
    prompt: npt.NDArray[np.int32]
    answer: npt.NDArray[np.int32]
    logprobs: npt.NDArray[np.float32]
    advantage: float

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.answer)


def make_rank_batches(
    groups: Sequence[Group],
    loss: str,
    ranks: int,
    tokens_per_micro_batch: int,
    max_tokens: int,
    penalised: bool = False,
) -> list[RankBatch]:
    """Share a batch out over the ranks.

    Groups with equal rewards have no advantage and are left out of the model's work, though they stay in
    the loss's denominators, so that the gradient is exactly that of the full batch.
    penalised: every answer bears a penalty, such as the KL divergence, beside its advantage: none is left out.
    Every rank gets the same number of micro-batches, which collective operations require; a rank with
    fewer samples gets an empty-weight copy of one.
    """
    advantage = ADVANTAGES[loss]
    samples = [
        _Sample(group.prompt_ids, rollout.token_ids, rollout.logprobs, float(a))
        for group in groups
        for rollout, a in zip(group.rollouts, advantage(group.rewards), strict=True)
    ]
    scale = LossScale(len(samples), sum(len(sample.answer) for sample in samples), max_tokens)
    teaching = sorted((s for s in samples if penalised or s.advantage != 0), key=lambda sample: sample.length)
    # Dealt in turns from the sorted list: each rank gets like lengths, hence like work.
    plans = [_plan(teaching[rank::ranks], tokens_per_micro_batch) for rank in range(ranks)]
    count = max((len(plan) for plan in plans), default=0)
    if count == 0:
        return [RankBatch([], scale) for _ in range(ranks)]
    filler = _pad([teaching[0]], weight=0.0)
    return [
        RankBatch([_pad(part) for part in plan] + [filler] * (count - len(plan)), scale) for plan in plans
    ]


def _plan(samples: list[_Sample], tokens: int) -> list[list[_Sample]]:
    """Cut samples sorted by length into parts whose padded size stays within the budget."""
    parts: list[list[_Sample]] = []
    for sample in samples:
        if not parts or (len(parts[-1]) + 1) * sample.length > tokens:
            parts.append([])
        parts[-1].append(sample)
    return parts


def _pad(samples: list[_Sample], weight: float = 1.0) -> MicroBatch:
    size, longest = len(samples), max(sample.length for sample in samples)
    token_ids = np.zeros((size, longest), np.int64)
    mask = np.zeros((size, longest - 1), np.float32)
    logprobs = np.zeros((size, longest - 1), np.float32)
    for i, sample in enumerate(samples):
        start, end = len(sample.prompt), sample.length
        token_ids[i, :start] = sample.prompt
        token_ids[i, start:end] = sample.answer
        mask[i, start - 1 : end - 1] = weight
        logprobs[i, start - 1 : end - 1] = sample.logprobs
    advantages = np.array([sample.advantage * weight for sample in samples], np.float32)
    return MicroBatch(token_ids, mask, logprobs, advantages)
