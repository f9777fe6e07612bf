"""A model's sizes, per token and in all, counted on the meta device: nothing is loaded and nothing is computed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

_COUNTED = "bots_counted"
_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Footprint:
    """A model's sizes.

    parameters, largest: of all and of the largest single one. layers, width, vocabulary: of the architecture.
    kv_values: keys and values that an engine keeps of a token, all layers together; kv_heads: heads that they are of.
    layer_bytes: what the backward pass of one layer needs of a token. other_bytes: the same outside the layers, the
    output head not counted.
    """

    parameters: int
    largest: int
    layers: int
    width: int
    vocabulary: int
    kv_values: int
    kv_heads: int
    layer_bytes: float
    other_bytes: float


def footprint(path: str, dtype: torch.dtype) -> Footprint:
    """The sizes of the model at `path`, a folder or a hub's name, with weights and activations in `dtype`."""
    config = AutoConfig.from_pretrained(path)
    text = config.get_text_config()
    sizes = [parameter.numel() for parameter in _on_meta(config, dtype).parameters()]
    heads = text.num_attention_heads
    head_width = getattr(text, "head_dim", None) or text.hidden_size // heads
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    one, two = (_saved_bytes(_shortened(config, layers), dtype) / _TOKENS for layers in (1, 2))
    return Footprint(
        parameters=sum(sizes),
        largest=max(sizes),
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        vocabulary=text.vocab_size,
        kv_values=2 * text.num_hidden_layers * kv_heads * head_width,
        kv_heads=kv_heads,
        layer_bytes=two - one,
        other_bytes=max(0.0, 2 * one - two),
    )


def _on_meta(config: Any, dtype: torch.dtype) -> nn.Module:
    AttentionInterface.register(_COUNTED, _counted_attention)
    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=_COUNTED)
    return model


def _shortened(config: Any, layers: int) -> Any:
    config = copy.deepcopy(config)
    text = config.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    return config


def _saved_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes that a forward pass keeps for the backward pass, the head and the parameters themselves left out."""
    model: Any = _on_meta(config, dtype)
    kept = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    storages: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in kept:
            # The tensor is held, so that no other storage takes its place.
            storages[storage._cdata] = storage.nbytes(), tensor
        return tensor

    ids = torch.zeros(1, _TOKENS, dtype=torch.long, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.base_model(input_ids=ids, use_cache=False)
    return sum(size for size, _ in storages.values())


class _Attention(torch.autograd.Function):
    """Keeps what fused attention keeps: queries, keys, values and the result."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        raise NotImplementedError("counted, never computed")


def _counted_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **_: Any
) -> tuple[Tensor, None]:
    out: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
    return out.transpose(1, 2).contiguous(), None
