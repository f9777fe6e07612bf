"""From graded groups to micro-batches, packed end to end or padded: equal work for every rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bots.learning.losses import LossScale, PolicyLoss, make_loss
from bots.rollouts.rollout import Group

GroupWeights = Literal["task", "completion"]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Samples that go through the model together, padded on the right or packed end to end.

    token_ids: int64, prompt then completion of each sample. Padded (b, T), then padding; packed (1, sum of lengths).
    mask: float32 (b, n), 1 for tokens of the completion. Padded: n = T - 1, and column t stands for token t + 1.
    Packed: n is the longest completion, and column t stands for its token t.
    sampler_logprobs: float32 (b, n), vLLM's log-probability of that token, 0 elsewhere.
    advantages: float32 (b,).
    slots: int64 (c,), the places in the flattened mask of all completion tokens, also those of no weight.
    positions: int64 (c,), the places in the flattened token_ids from which each of these is predicted.
    lengths: int32 (b,), tokens of each sample, where they are packed.
    """

    token_ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.float32]
    sampler_logprobs: npt.NDArray[np.float32]
    advantages: npt.NDArray[np.float32]
    slots: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32] | None = None

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """The completion tokens, int64 (c,)."""
        targets: npt.NDArray[np.int64] = self.token_ids.reshape(-1)[self.positions + 1]
        return targets


@dataclass(frozen=True, slots=True)
class RankBatch:
    """One rank's part of a batch: micro-batches, and the counts of the whole batch."""

    micro_batches: list[MicroBatch]
    scale: LossScale


@dataclass(frozen=True, slots=True)
class _Sample:
    prompt: npt.NDArray[np.int32]
    completion: npt.NDArray[np.int32]
    logprobs: npt.NDArray[np.float32]
    advantage: float

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.completion)


def make_rank_batches(
    groups: Sequence[Group],
    loss: str | PolicyLoss,
    ranks: int,
    tokens_per_micro_batch: int,
    max_tokens: int,
    penalised: bool = False,
    packed: bool = False,
    group_weights: GroupWeights = "task",
    mask_truncated: bool = False,
) -> list[RankBatch]:
    """Split a batch over the ranks.

    loss: its advantages are used; a name stands for a loss without options.

    Groups with equal rewards have no advantage and skip the model, but count in the loss's denominators, so that
    the gradient is exactly that of the full batch.
    penalised: every completion has a penalty besides its advantage, such as the KL divergence: none is left out.
    group_weights: how groups of different sizes count. task: each alike, as if all had the batch's mean size n̄ (the
        advantages of a group of n are multiplied by n̄/n, in which every loss is linear); completion: by its size.
    mask_truncated: leave completions that reached the token limit out of the loss and its denominators (overlong
        filtering; DAPO, arXiv 2503.14476, section 3.4). Their rewards still count in their group's advantages.
    packed: samples lie end to end, and the token budget counts real tokens; otherwise padding counts as well.
    Every rank gets the same number of micro-batches, which collective operations require; a rank with
    fewer samples gets a copy of one with weight 0.
    """
    advantages = (make_loss(loss) if isinstance(loss, str) else loss).advantages
    mean_size = sum(len(group.rollouts) for group in groups) / max(1, len(groups))
    weights = [mean_size / len(group.rollouts) if group_weights == "task" else 1.0 for group in groups]
    samples = [
        _Sample(group.prompt_ids, rollout.token_ids, rollout.logprobs, float(a) * weight)
        for group, weight in zip(groups, weights, strict=True)
        for rollout, a in zip(group.rollouts, advantages(group.rewards), strict=True)
        if rollout.finished or not mask_truncated
    ]
    scale = LossScale(len(samples), sum(len(sample.completion) for sample in samples), max_tokens)
    teaching = sorted((s for s in samples if penalised or s.advantage != 0), key=lambda sample: sample.length)
    # Dealt in turns from the sorted list, so that the ranks get similar lengths and equal work.
    plan, lay = (_plan_packed, _pack) if packed else (_plan, _pad)
    plans = [plan(teaching[rank::ranks], tokens_per_micro_batch) for rank in range(ranks)]
    count = max((len(parts) for parts in plans), default=0)
    if count == 0:
        return [RankBatch([], scale) for _ in range(ranks)]
    filler = lay([teaching[0]], 0.0)
    return [
        RankBatch([lay(part, 1.0) for part in parts] + [filler] * (count - len(parts)), scale)
        for parts in plans
    ]


def _plan(samples: list[_Sample], tokens: int) -> list[list[_Sample]]:
    """Cut samples sorted by length into parts whose padded size stays within the budget."""
    parts: list[list[_Sample]] = []
    for sample in samples:
        if not parts or (len(parts[-1]) + 1) * sample.length > tokens:
            parts.append([])
        parts[-1].append(sample)
    return parts


def _plan_packed(samples: list[_Sample], tokens: int) -> list[list[_Sample]]:
    """Cut samples into parts of at most so many tokens."""
    parts: list[list[_Sample]] = []
    filled = 0
    for sample in samples:
        if not parts or filled + sample.length > tokens:
            parts.append([])
            filled = 0
        parts[-1].append(sample)
        filled += sample.length
    return parts


def _pad(samples: list[_Sample], weight: float) -> MicroBatch:
    longest = max(sample.length for sample in samples)
    token_ids = np.zeros((len(samples), longest), np.int64)
    for i, sample in enumerate(samples):
        token_ids[i, : len(sample.prompt)] = sample.prompt
        token_ids[i, len(sample.prompt) : sample.length] = sample.completion
    columns = [len(sample.prompt) - 1 for sample in samples]
    starts = [i * longest + column for i, column in enumerate(columns)]
    return _lay(samples, weight, token_ids, longest - 1, columns, starts)


def _pack(samples: list[_Sample], weight: float) -> MicroBatch:
    lengths = np.array([sample.length for sample in samples], np.int32)
    token_ids = np.concatenate([part for sample in samples for part in (sample.prompt, sample.completion)])
    longest = max(len(sample.completion) for sample in samples)
    begins = np.cumsum(lengths) - lengths
    starts = [int(b) + len(sample.prompt) - 1 for b, sample in zip(begins, samples, strict=True)]
    return _lay(
        samples, weight, token_ids.astype(np.int64)[None], longest, [0] * len(samples), starts, lengths
    )


def _lay(
    samples: list[_Sample],
    weight: float,
    token_ids: npt.NDArray[np.int64],
    width: int,
    columns: list[int],
    starts: list[int],
    lengths: npt.NDArray[np.int32] | None = None,
) -> MicroBatch:
    """width: columns of the mask. columns, starts: where each completion begins, in the mask's row and in token_ids."""
    mask = np.zeros((len(samples), width), np.float32)
    logprobs = np.zeros((len(samples), width), np.float32)
    slots, positions = [], []
    for i, (sample, column, start) in enumerate(zip(samples, columns, starts, strict=True)):
        size = len(sample.completion)
        mask[i, column : column + size] = weight
        logprobs[i, column : column + size] = sample.logprobs
        slots.append(np.arange(i * width + column, i * width + column + size))
        positions.append(np.arange(start, start + size))
    advantages = np.array([sample.advantage * weight for sample in samples], np.float32)
    places = np.concatenate(slots), np.concatenate(positions)
    return MicroBatch(token_ids, mask, logprobs, advantages, *places, lengths)
