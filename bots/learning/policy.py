"""The policy as a module: loaded, with or without LoRA adapters, and as the checkpoint that engines load.

Needs torch and transformers; LoRA also peft (the extra `lora`).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from bots.config.train import LearnerConfig, LoraConfig, ModelConfig
from bots.config.tree import ConfigError
from bots.learning import packed_attention

_PREFIX = "base_model.model."
_ADAPTER = "default"


def load_policy(path: str, model: ModelConfig, lora: LoraConfig | None, packed: bool = False) -> nn.Module:
    """The model of folder `path`, ready to train; with `lora`, only the adapters' parameters are trainable.

    packed: samples come end to end in one row. Flash attention knows how; otherwise `packed_attention` does it.
    """
    own_kernel = packed and model.attention == "sdpa"
    policy = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=getattr(torch, model.dtype),
        attn_implementation=packed_attention.register() if own_kernel else model.attention,
    )
    if model.gradient_checkpointing:
        policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return policy if lora is None else _with_adapters(policy, lora)


def check_attention(model: ModelConfig) -> None:
    """Raise ConfigError where `model.attention` needs a package that is not here."""
    wanted = model.attention == "flash_attention_2"
    if wanted and not any(importlib.util.find_spec(name) for name in ("flash_attn", "kernels")):
        raise ConfigError(
            "model.attention is flash_attention_2, which needs the package flash-attn or kernels; sdpa needs neither, "
            "and packs samples by PyTorch's own variable-length FlashAttention"
        )


def packs(path: str, model: ModelConfig, learner: LearnerConfig) -> bool:
    """Whether micro-batches of the model at `path` are packed. Raises ConfigError if they are to be and can't."""
    wanted = learner.gpus > 0 if learner.packing is None else learner.packing
    if not wanted:
        return False
    try:
        packed_attention.check_packable(AutoConfig.from_pretrained(path), model.attention, path)
    except ConfigError:
        if learner.packing:
            raise
        return False
    return True


def check_policy(path: str, lora: LoraConfig | None) -> None:
    """Check, without loading weights, that a model can be trained and fits the engines.

    path: a folder or a hub's name; only a folder's weights are checked.
    Raises ConfigError if it is no causal language model or is quantized; if weights are missing, or their vocabulary
    differs from the configuration's, which sizes the engines; if `lora` is given and peft is missing; or if
    `lora.targets` names a layer that is not there.
    """
    config = AutoConfig.from_pretrained(path)
    if quantized := getattr(config, "quantization_config", None):
        raise ConfigError(
            f"model.path {path!r}: its weights are quantized ({quantized.get('quant_method')}), and can't be trained; "
            "take the model that they were made from"
        )
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise ConfigError(
            f"model.path {path!r} is a {config.model_type!r} model, for which transformers has no causal language model"
        )
    if not hasattr(config.get_text_config(), "num_attention_heads"):
        raise ConfigError(
            f"model.path {path!r} is a {config.model_type!r} model, whose layers have no attention; the memory plan "
            "knows none such"
        )
    if missing := _missing_weights(Path(path)):
        raise ConfigError(
            f"model.path {path!r}: {missing}; was its download or its last save interrupted? Get the whole folder again"
        )
    said = config.get_text_config().vocab_size
    held = _embeddings(Path(path))
    if held is not None and held != said:
        raise ConfigError(
            f"model.path {path!r}: its configuration says vocab_size = {said}, which sizes the engines, but its "
            f"weights hold {held} embeddings; they don't belong together"
        )
    if lora is None:
        return
    if importlib.util.find_spec("peft") is None:
        raise ConfigError("learner.lora needs the package peft: install bots-rft[lora]")
    with torch.device("meta"):
        policy = AutoModelForCausalLM.from_config(config)
    names = {
        name.rpartition(".")[2] for name, module in policy.named_modules() if isinstance(module, nn.Linear)
    }
    unknown = sorted(set(lora.targets) - names)
    if unknown:
        raise ConfigError(
            f"learner.lora.targets: the model {path!r} has no linear layers called {', '.join(unknown)}; "
            f"it has {', '.join(sorted(names))}"
        )


def _missing_weights(folder: Path) -> str:
    """Which files of weights a folder lacks; empty if none, or if it is no folder."""
    if not folder.is_dir():
        return ""
    for index in sorted(folder.glob("*.index.json")):
        named = set(json.loads(index.read_text())["weight_map"].values())
        if lacking := sorted(name for name in named if not (folder / name).is_file()):
            return f"{index.name} names {len(named)} files of weights, of which {', '.join(lacking)} are not there"
        return ""
    if not any(file.suffix in (".safetensors", ".bin") for file in folder.iterdir()):
        return "it holds no weights (no *.safetensors and no *.bin)"
    return ""


def _embeddings(folder: Path) -> int | None:
    """Rows of the input embedding in a folder's weights, read from their headers; None if not found.

    Raises ConfigError for a file that is cut off.
    """
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (no mapping)
                    if name.endswith(("embed_tokens.weight", "wte.weight", "word_embeddings.weight")):
                        return int(tensors.get_slice(name).get_shape()[0])
        except SafetensorError as error:
            raise ConfigError(f"model.path: {file} is damaged, or not whole: {error}") from error
    return None


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
    # DeepSpeed keeps float32 master weights itself and needs a single dtype in the module.
    model: nn.Module = get_peft_model(policy, adapters, autocast_adapter_dtype=False)
    return model


@dataclass(frozen=True, slots=True)
class Published:
    """One tensor of the checkpoint and its sources.

    name: in the base model's checkpoint. weight: the parameter of that name. layer: the LoRA layer that holds
    it, if one does. parameters: those that must be gathered in this process before `tensor` is called.
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

    def tensor(self, device: str | torch.device, copy: bool = True) -> Tensor:
        """A copy on `device`, with the adapter merged into it: W + α/rank · B·A (arXiv 2106.09685, equation 3).

        Without `copy`, a weight that is there and has no adapter is returned itself.
        """
        weight = self.weight.detach()
        if self.layer is None:
            return weight.to(device, copy=copy)
        delta: Tensor = self.layer.get_delta_weight(_ADAPTER).detach()
        return (weight + delta.to(weight.dtype)).to(device)


def published(policy: nn.Module) -> Iterator[Published]:
    """The policy's parameters under their checkpoint names, adapters merged. Tied ones come once."""
    layers = {name: module for name, module in policy.named_modules() if hasattr(module, "get_delta_weight")}
    for name, parameter in policy.named_parameters():
        if ".lora_" in name:
            continue
        owner, _, _ = name.rpartition(".base_layer.")
        layer = layers[owner] if owner and name.endswith(".weight") else None
        yield Published(name.removeprefix(_PREFIX).replace(".base_layer.", "."), parameter, layer)
