"""Sample completions from a causal language model in plain transformers, for checks where no engine runs."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_NEW_TOKENS = 64


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    generator: torch.Generator,
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> list[str | None]:
    """One completion for each prompt at temperature 1; None where the end-of-sequence token never came.

    All prompts run as one batch (padded on the left), so memory grows with their number.
    """
    batch = tokenizer(list(prompts), return_tensors="pt", padding=True)
    mask = batch["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    tokens: torch.Tensor = batch["input_ids"]
    cache = None
    finished = torch.zeros(len(prompts), dtype=torch.bool)
    drawn = []
    for _ in range(max_new_tokens):
        output = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        probabilities = output.logits[:, -1].float().softmax(-1)
        tokens = torch.multinomial(probabilities, 1, generator=generator)
        drawn.append(tokens)
        finished |= tokens[:, 0] == tokenizer.eos_token_id
        if bool(finished.all()):
            break
        mask = torch.cat([mask, torch.ones_like(tokens)], dim=1)
        positions = positions[:, -1:] + 1
    completions: list[str | None] = []
    for row in torch.cat(drawn, dim=1).tolist():
        if tokenizer.eos_token_id in row:
            completions.append(tokenizer.decode(row[: row.index(tokenizer.eos_token_id)]))
        else:
            completions.append(None)
    return completions
