"""The policy as a module: loaded, with or without LoRA adapters, and seen as the checkpoint that engines load.

Needs torch and transformers; LoRA also peft (the extra `lora`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from bots.config import ConfigError, LoraConfig, ModelConfig

_PREFIX = "base_model.model."
_ADAPTER = "default"


def load_policy(path: str, model: ModelConfig, lora: LoraConfig | None) -> nn.Module:
    """The model of folder `path`, ready to train; with `lora`, only the adapters' parameters are trainable."""
    policy = AutoModelForCausalLM.from_pretrained(
        path, dtype=getattr(torch, model.dtype), attn_implementation=model.attention
    )
    if model.gradient_checkpointing:
        policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return policy if lora is None else _with_adapters(policy, lora)


def check_lora(path: str, lora: LoraConfig) -> None:
    """Refuse, without loading weights, adapters that the model of folder `path` cannot carry.

    Raises ConfigError if peft is missing or `learner.lora.targets` names no linear layer.
    """
    if importlib.util.find_spec("peft") is None:
        raise ConfigError("learner.lora needs the package peft: install bots-rft[lora]")
    with torch.device("meta"):
        policy = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path))
    linear = sorted(
        {name.rpartition(".")[2] for name, m in policy.named_modules() if isinstance(m, nn.Linear)}
    )
    unknown = [target for target in lora.targets if target not in linear]
    if unknown:
        raise ConfigError(
            f"learner.lora.targets: the model {path} has no linear layers called {', '.join(unknown)}; "
            f"it has {', '.join(linear)}"
        )


def _with_adapters(policy: nn.Module, lora: LoraConfig) -> nn.Module:
    from peft import LoraConfig as Adapters
    from peft import get_peft_model

    adapters = Adapters(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or "all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
    # DeepSpeed keeps master weights in float32 by itself and wants one dtype in the module.
    model: nn.Module = get_peft_model(policy, adapters, autocast_adapter_dtype=False)
    return model


@dataclass(frozen=True, slots=True)
class Published:
    """One tensor of the checkpoint, and what it is made of.

    name: in the base model's checkpoint. weight: the parameter of that name. layer: the LoRA layer that holds
    it, if one does. parameters: all that must be whole in this process before `tensor` is called.
    """

    name: str
    weight: nn.Parameter
    layer: Any = None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameter and, with LoRA, the two factors that are added to it."""
        if self.layer is None:
            return [self.weight]
        factors = (self.layer.lora_A[_ADAPTER].weight, self.layer.lora_B[_ADAPTER].weight)
        return [self.weight, *factors]

    def tensor(self, device: str | torch.device) -> Tensor:
        """A copy on `device`, with the adapter merged into it: W + α/rank · B·A (arXiv 2106.09685, equation 3)."""
        weight = self.weight.detach()
        if self.layer is None:
            return weight.to(device, copy=True)
        delta: Tensor = self.layer.get_delta_weight(_ADAPTER).detach()
        return (weight + delta.to(weight.dtype)).to(device)


def published(policy: nn.Module) -> Iterator[Published]:
    """The policy's parameters under the names of its own checkpoint, adapters merged. Tied ones come once."""
    layers = {name: module for name, module in policy.named_modules() if hasattr(module, "get_delta_weight")}
    for name, parameter in policy.named_parameters():
        if ".lora_" in name:
            continue
        owner, _, _ = name.rpartition(".base_layer.")
        layer = layers[owner] if owner and name.endswith(".weight") else None
        yield Published(name.removeprefix(_PREFIX).replace(".base_layer.", "."), parameter, layer)
