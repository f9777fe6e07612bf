"""Supervised training of the lab's model on worked solutions of the easy levels."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bots.lab.families import FAMILIES, Problem
from bots.lab.split import split_of

# Up to which level each family is taught in full. Above, every further level is _DECAY times as frequent as the
# one before it, for TAIL_LEVELS levels: a slope, where training would otherwise leave a cliff that
# reinforcement cannot climb. What lies still higher is never seen.
TAUGHT_LEVELS: Mapping[str, int] = {"math": 4, "logic": 3, "code": 3}
TAIL_LEVELS = 7
_DECAY = 0.6
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
AVERAGING = 0.98  # decay of the averaged weights in a step: about the last 50 steps
_IGNORED = -100  # the label that torch's cross-entropy leaves out


def level_frequencies(domain: str) -> npt.NDArray[np.float64]:
    """float64 (taught levels + tail,): the share of each level, from level 1 up, in supervised training."""
    weights = np.append(np.ones(TAUGHT_LEVELS[domain]), _DECAY ** np.arange(1, TAIL_LEVELS + 1))
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def draw_problems(count: int, rng: np.random.Generator) -> list[Problem]:
    """`count` problems of the taught levels, families and levels in equal parts, never an evaluation prompt."""
    domains = list(TAUGHT_LEVELS)
    frequencies = {domain: level_frequencies(domain) for domain in domains}
    problems: list[Problem] = []
    while len(problems) < count:
        domain = domains[int(rng.integers(len(domains)))]
        level = 1 + int(rng.choice(len(frequencies[domain]), p=frequencies[domain]))
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
    learning_rate: float = LEARNING_RATE,
    batch_size: int = BATCH_SIZE,
) -> Iterator[tuple[int, float, PreTrainedModel]]:
    """Train `model` in place with AdamW; yields (steps done, loss, averaged model) after each of `steps` steps.

    The learning rate stays constant after a short warm-up, and the averaged model, an exponential moving
    average of the weights, takes the jitter out: any point on the way is a fair checkpoint. It is one object,
    updated in place: copy or save it to keep a point. Deterministic for a seed and a number of torch threads.
    """
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=50)
    averaged = copy.deepcopy(model)
    model.train()
    for step in range(1, steps + 1):
        ids, mask, labels = encode(draw_problems(batch_size, rng), tokenizer)
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
