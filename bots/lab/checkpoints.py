"""The shipped weak, base and strong checkpoints: where they are, how to write and read them."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

FOLDER = Path(__file__).parent / "checkpoints"
NAMES = ("weak", "base", "strong")


def checkpoint_path(name: str) -> Path:
    """The folder of the checkpoint `name`, one of weak, base, strong, in the Hugging Face format.

    Raises ValueError for another name and FileNotFoundError if the package was installed without the checkpoints.
    """
    if name not in NAMES:
        raise ValueError(f"unknown lab checkpoint {name!r}, there are {', '.join(NAMES)}")
    path = FOLDER / name
    if not (path / "model.safetensors").is_file():
        raise FileNotFoundError(f"{path} holds no checkpoint: make it with `python -m bots.lab.prepare`")
    return path


def load(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in float32 and its tokenizer."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(path)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Write a folder that transformers and vLLM load without custom code.

    The file stores the weights as float16, half the size and within a relative 2^-11 of each weight; the configuration
    says float32, the precision to load them in.
    """
    state = {name: weight.half() for name, weight in model.state_dict().items()}
    half = type(model)(model.config).half()
    half.load_state_dict(state)
    half.config.dtype = torch.float16
    half.save_pretrained(path)
    tokenizer.save_pretrained(path)
