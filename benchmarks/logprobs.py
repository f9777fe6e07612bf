"""Log-probabilities in blocks of the vocabulary against the plain form: seconds and peak memory, forward and backward.

    python -m benchmarks.logprobs                      # both forms, alternating; then blocks alone at 16 k tokens
    python -m benchmarks.logprobs --device cuda --dtype bfloat16 --tokens 8192 --width 3584

The plain form computes logits at every position of a micro-batch, as a model does by itself; `--completion` is the
share of positions that belong to completions. Peak memory on a CPU is measured in a separate process, above the level
before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time

import torch

from benchmarks import peak as memory
from bots.learning.logprobs import completion_logprobs
from bots.learning.losses import token_logprobs


def inputs(options: argparse.Namespace, tokens: int, width: int) -> tuple[torch.Tensor, ...]:
    """Hidden states, weight, targets, and the positions of completions."""
    torch.manual_seed(0)
    kind = {"dtype": getattr(torch, options.dtype), "device": options.device}
    hidden = torch.randn(tokens, width, **kind).requires_grad_()
    weight = torch.randn(options.vocabulary, width, **kind).mul_(width**-0.5).requires_grad_()
    targets = torch.randint(0, options.vocabulary, (tokens,), device=options.device)
    positions = torch.arange(tokens - int(tokens * options.completion), tokens, device=options.device)
    return hidden, weight, targets, positions


def once(form: str, given: tuple[torch.Tensor, ...]) -> float:
    """Seconds of one forward and backward pass."""
    hidden, weight, targets, positions = given
    hidden.grad = weight.grad = None
    synchronize(hidden)
    started = time.perf_counter()
    if form == "plain":
        logits = torch.nn.functional.linear(hidden, weight)
        logprobs = token_logprobs(logits[None], targets[None], 1.0)[0][positions]
        del logits
    else:
        logprobs = completion_logprobs(hidden[positions], weight, targets[positions], 1.0)
    logprobs.sum().backward()
    synchronize(hidden)
    return time.perf_counter() - started


def synchronize(tensor: torch.Tensor) -> None:
    """Wait for the GPU, if it is one."""
    if tensor.is_cuda:
        torch.cuda.synchronize()


def peak(form: str, options: argparse.Namespace, tokens: int, width: int) -> float:
    """MiB above the inputs and their gradients."""
    if options.device != "cpu":
        return _peak(form, options, tokens, width)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (form, options, tokens, width))


def _peak(form: str, options: argparse.Namespace, tokens: int, width: int) -> float:
    torch.set_num_threads(options.threads)
    given = inputs(options, tokens, width)
    gradients = sum(tensor.numel() * tensor.element_size() for tensor in given[:2])
    if options.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        once(form, given)
        return (torch.cuda.max_memory_allocated() - before - gradients) / 2**20
    before = memory.resident()
    memory.begin()
    once(form, given)
    return memory.peak() - before - gradients / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=152_064)
    parser.add_argument("--width", type=int, default=896)
    parser.add_argument("--completion", type=float, default=1.0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    given = inputs(options, options.tokens, options.width)
    seconds: dict[str, list[float]] = {"plain": [], "blocks": []}
    for form in seconds:
        once(form, given)
    for _ in range(options.repeats):
        for form, taken in seconds.items():
            taken.append(once(form, given))
    ratios = [b / p for p, b in zip(seconds["plain"], seconds["blocks"], strict=True)]
    print(
        f"{options.tokens} tokens x {options.vocabulary}, width {options.width}, {options.dtype}, "
        f"completion {options.completion:g}"
    )
    for form, taken in seconds.items():
        mib = peak(form, options, options.tokens, options.width)
        print(f"{form:7} {statistics.median(taken):7.3f} s   peak {mib:7.0f} MiB")
    print(f"blocks / plain: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    # The logits do not depend on the width, which only makes it slow.
    width = 64 if options.device == "cpu" else options.width
    print(f"16,384 tokens, width {width}: blocks peak {peak('blocks', options, 16_384, width):.0f} MiB")


if __name__ == "__main__":
    main()
