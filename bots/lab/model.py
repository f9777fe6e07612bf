"""The lab's language model: Qwen2's architecture, 0.3 million parameters."""

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from bots.lab.tokenizer import BOS, EOS, MAX_LENGTH, PAD, VOCABULARY


def build_config() -> Qwen2Config:
    """Three layers of width 96 with heads of 32, which vLLM's attention on CPU accepts."""
    return Qwen2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=96,
        intermediate_size=224,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=VOCABULARY[PAD],
        bos_token_id=VOCABULARY[BOS],
        eos_token_id=VOCABULARY[EOS],
    )


def build_model(seed: int) -> Qwen2ForCausalLM:
    """A model with fresh weights in float32, drawn from `seed` without touching torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(build_config()).float()
