"""The split into training and evaluation tasks, by a hash of the prompt: no prompt is ever in both."""

import hashlib
from typing import Literal

Split = Literal["train", "eval"]


def prompt_hash(prompt: str) -> str:
    """32 hexadecimal digits that identify the prompt, the same on every machine."""
    return hashlib.blake2b(prompt.encode(), digest_size=16).hexdigest()


def split_of(prompt: str) -> Split:
    """One prompt in four is for evaluation."""
    return "eval" if int(prompt_hash(prompt)[-1], 16) % 4 == 0 else "train"
