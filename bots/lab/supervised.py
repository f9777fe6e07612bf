"""Supervised training of the lab's model on worked solutions of the easy levels."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bots.lab.families import FAMILIES, Problem
from bots.lab.split import split_of

# Levels up to which each family is taught in full. Above, each level is _DECAY times as frequent as the one before
# it, for TAIL_LEVELS levels: a slope instead of a cliff that reinforcement could not climb. Higher levels are never
# seen.
TAUGHT_LEVELS: Mapping[str, int] = {"math": 5, "logic": 4, "code": 4}
TAIL_LEVELS = 4
_DECAY = 0.4
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
AVERAGING = 0.98  # decay of the averaged weights in a step: about the last 50 steps
_IGNORED = -100  # the label that torch's cross-entropy leaves out


LevelShares = Mapping[str, npt.NDArray[np.float64]]
"""For each domain the share of each level, from level 1 up: float64 (highest level seen,), sum 1."""


def level_shares() -> LevelShares:
    """The shares used for the shipped checkpoints."""
    shares = {}
    for domain, taught in TAUGHT_LEVELS.items():
        weights = np.append(np.ones(taught), _DECAY ** np.arange(1, TAIL_LEVELS + 1))
        shares[domain] = np.asarray(weights / weights.sum(), dtype=np.float64)
    return shares


def draw_problems(count: int, shares: LevelShares, rng: np.random.Generator) -> list[Problem]:
    """`count` problems, equally many per domain, levels by `shares`, never an evaluation prompt."""
    domains = list(shares)
    problems: list[Problem] = []
    while len(problems) < count:
        domain = domains[int(rng.integers(len(domains)))]
        level = 1 + int(rng.choice(len(shares[domain]), p=shares[domain]))
        problem = FAMILIES[domain].sample(level, rng)
        if split_of(problem.prompt) == "train":
            problems.append(problem)
    return problems


def encode(
    problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, attention mask, labels: each (problems, longest), int64; only solutions carry labels."""
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
    average of the weights, removes the jitter: every point on the way is a usable checkpoint. It is one object,
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
        ids, mask, labels = encode(draw_problems(batch_size, shares, rng), tokenizer)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warmup.step()
        with torch.no_grad():
            for kept, new in zip(averaged.parameters(), model.parameters(), strict=True):
                kept.lerp_(new, 1.0 - AVERAGING)
        yield step, float(loss.detach()), averaged
