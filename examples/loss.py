"""A custom loss: CISPO, which clips the importance weight and lets every token keep its gradient.

Run it:

    python examples/loss.py

It is one file. A job uses it by name, with options, and no other file changes:

    learner:
      loss: examples.loss:cispo
      loss_options: {cap: 3.0}

Source: MiniMax-M1, arXiv 2506.13585, section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bots.learning.conformance import CHECKS, example_batch
from bots.learning.losses import LossBatch, make_loss, token_ratio


def cispo(logprobs: Tensor, batch: LossBatch, cap: float = 2.0) -> Tensor:
    """-1/Σ_i L_i Σ_i Σ_t sg(min(r, cap)) · w · A · log π_θ, the mean over all tokens of the batch.

    PPO's clip removes the gradient of a token whose ratio r is beyond the bound; here only its weight is bounded.
    """
    weight = token_ratio(logprobs, batch).clamp(max=cap).detach() * batch.weights
    return -(weight * batch.advantages[:, None] * logprobs * batch.mask).sum() / batch.scale.tokens


def main() -> None:
    """Check the loss, then count the tokens whose gradient it keeps and GRPO's clip removes."""
    for check in CHECKS:
        check(make_loss(f"{__name__}:cispo", {"cap": 3.0}))
    print(f"cispo passes {len(CHECKS)} checks")

    for name in ("grpo", f"{__name__}:cispo"):
        logprobs, batch = example_batch(distance=0.5)
        make_loss(name)(logprobs, batch).backward()  # type: ignore[no-untyped-call]
        learning = int(((logprobs.grad != 0) & (batch.mask > 0)).sum())
        print(f"{name.rpartition(':')[2]}: {learning} of {batch.scale.tokens} tokens have a gradient")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
