"""Supervised training of the lab's model on worked solutions of the easy levels."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bots.lab.families import FAMILIES, Problem
from bots.lab.split import split_of

# How much of the training each family is given (running totals are the slowest to learn), and up to which level
# it is taught in full. Above, every further level is _DECAY times as frequent as the one before it, for
# TAIL_LEVELS levels: a slope, where training would otherwise leave a cliff that reinforcement cannot climb.
# What lies still higher is never seen.
FAMILY_SHARES: Mapping[str, float] = {"math": 0.5, "logic": 0.25, "code": 0.25}
TAUGHT_LEVELS: Mapping[str, int] = {"math": 4, "logic": 3, "code": 3}
TAIL_LEVELS = 7
_DECAY = 0.6
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
AVERAGING = 0.98  # decay of the averaged weights in a step: about the last 50 steps
_MICRO_BATCHES = 4
_IGNORED = -100  # the label that torch's cross-entropy leaves out


LevelShares = Mapping[str, npt.NDArray[np.float64]]
"""For each domain the share of each level, from level 1 up: float64 (highest level seen,). All together sum to 1."""


def level_shares() -> LevelShares:
    """The shares that the shipped checkpoints are trained with."""
    shares = {}
    for domain, share in FAMILY_SHARES.items():
        weights = np.append(np.ones(TAUGHT_LEVELS[domain]), _DECAY ** np.arange(1, TAIL_LEVELS + 1))
        shares[domain] = np.asarray(share * weights / weights.sum(), dtype=np.float64)
    return shares


def draw_problems(count: int, shares: LevelShares, rng: np.random.Generator) -> list[Problem]:
    """`count` problems, domains and levels by `shares`, never an evaluation prompt."""
    cells = [(domain, level) for domain in shares for level in range(1, len(shares[domain]) + 1)]
    probabilities = np.concatenate(list(shares.values()))
    problems: list[Problem] = []
    while len(problems) < count:
        domain, level = cells[int(rng.choice(len(cells), p=probabilities))]
        problem = FAMILIES[domain].sample(level, rng)
        if split_of(problem.prompt) == "train":
            problems.append(problem)
    return problems


def encode(
    problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, attention mask and labels, each (problems, longest), int64; only the solutions carry labels."""
    prompts = tokenizer([problem.prompt for problem in problems])["input_ids"]
    texts = [problem.prompt + problem.solution + tokenizer.eos_token for problem in problems]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    ids: torch.Tensor = batch["input_ids"]
    mask: torch.Tensor = batch["attention_mask"]
    labels = ids.masked_fill(mask == 0, _IGNORED)
    for row, prompt in enumerate(prompts):
        labels[row, : len(prompt)] = _IGNORED
    return ids, mask, labels


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    steps: int,
    seed: int,
    shares: LevelShares | None = None,
    learning_rate: float = LEARNING_RATE,
    batch_size: int = BATCH_SIZE,
) -> Iterator[tuple[int, float, PreTrainedModel]]:
    """Train `model` in place with AdamW; yields (steps done, loss, averaged model) after each of `steps` steps.

    The learning rate stays constant after a short warm-up, and the averaged model, an exponential moving
    average of the weights, takes the jitter out: any point on the way is a fair checkpoint. It is one object,
    updated in place: copy or save it to keep a point. Deterministic for a seed and a number of torch threads.

    shares: which levels of which domains are taught; None means `level_shares()`.
    """
    rng = np.random.default_rng(seed)
    shares = level_shares() if shares is None else shares
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=50)
    averaged = copy.deepcopy(model)
    model.train()
    for step in range(1, steps + 1):
        problems = draw_problems(batch_size, shares, rng)
        optimizer.zero_grad()
        loss = _accumulate_gradient(model, tokenizer, problems)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warmup.step()
        with torch.no_grad():
            for kept, new in zip(averaged.parameters(), model.parameters(), strict=True):
                kept.lerp_(new, 1.0 - AVERAGING)
        yield step, loss, averaged


def _accumulate_gradient(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem]
) -> float:
    """Add the gradient of the mean loss of a solution's token; returns that loss.

    In micro-batches of similar length: in one batch, two thirds of the tokens would be padding.
    """
    by_length = sorted(problems, key=lambda problem: len(problem.prompt) + len(problem.solution))
    size = -(-len(by_length) // _MICRO_BATCHES)
    batches = [encode(by_length[i : i + size], tokenizer) for i in range(0, len(by_length), size)]
    counts = [int((labels != _IGNORED).sum()) for _, _, labels in batches]
    total = 0.0
    for (ids, mask, labels), count in zip(batches, counts, strict=True):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss * (count / sum(counts))
        loss.backward()
        total += float(loss.detach())
    return total
