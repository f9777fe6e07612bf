"""CPU shortcuts for a vLLM engine: the same tokens with less Python, which is half of a small model's step.

On a GPU, a step's Python code runs while the device works. On a CPU it takes time from the model. All but the norms
give bit-identical results to vLLM's own code; with the norms, log-probabilities differ by rounding, some 1e-5
(`tests/actors/test_rollout.py`). A shortcut is skipped where vLLM is set up otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from vllm import LLM
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager
from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler, apply_top_k_top_p

SEEDS_AHEAD = 32
"""Seeds drawn at a time for a seeded completion; each token takes one."""


def install(llm: LLM) -> None:
    """Install the shortcuts in an engine that runs in this process."""
    manager, runner = _parts(llm)
    skip_needless_allocation(manager)
    batch_seeds(runner.sampler.topk_topp_sampler)
    fuse_norms(runner.model)
    call_directly(runner.model)


def remove(llm: LLM) -> None:
    """Restore vLLM's own code in an engine, to compare the two."""
    manager, runner = _parts(llm)
    vars(manager).pop("allocate_slots", None)
    sampler = runner.sampler.topk_topp_sampler
    sampler.forward = sampler.forward_cpu
    unfuse_norms(runner.model)
    call_indirectly(runner.model)


def _parts(llm: LLM) -> tuple[Any, Any]:
    """vLLM's `KVCacheManager` and its model runner."""
    core: Any = llm.llm_engine.engine_core
    core = core.engine_core
    return core.scheduler.kv_cache_manager, core.model_executor.driver_worker.worker.model_runner


def skip_needless_allocation(manager: Any) -> None:
    """Don't request a new KV block for a token that fits into the completion's last block.

    vLLM goes through all layers of its allocator for every token of every completion. Only one token in `block_size`
    needs a new block or completes one, which then goes into the prefix cache. manager: vLLM's `KVCacheManager`.
    """
    managers = manager.coordinator.single_type_managers
    if [type(one) for one in managers] != [FullAttentionManager]:
        return
    (only,) = managers
    blocks, size, full, none = (
        only.req_to_blocks,
        only.block_size,
        manager.allocate_slots,
        manager.empty_kv_cache_blocks,
    )

    def allocate_slots(
        request: Any, num_new_tokens: int, *args: Any, num_lookahead_tokens: int = 0, **options: Any
    ) -> Any:
        if num_new_tokens == 1 and not args and not options and not num_lookahead_tokens:
            end = request.num_computed_tokens + 1
            if end % size and end < size * len(blocks.get(request.request_id, ())):
                return none
        return full(request, num_new_tokens, *args, num_lookahead_tokens=num_lookahead_tokens, **options)

    manager.allocate_slots = allocate_slots


def batch_seeds(sampler: TopKTopPSampler) -> None:
    """Draw the noise seeds for a completion's next tokens all at once.

    vLLM draws one from each completion's generator at every step: three torch calls per token. Drawn together, the
    numbers are the same.
    """
    if sampler.forward != sampler.forward_cpu or sampler.use_fp64_gumbel:
        return
    drawn: WeakKeyDictionary[torch.Generator, Iterator[int]] = WeakKeyDictionary()

    def seed(generator: torch.Generator) -> int:
        ahead = drawn.get(generator)
        found = next(ahead, None) if ahead is not None else None
        if found is not None:
            return found
        more = torch.randint(0, 2**31, (SEEDS_AHEAD,), generator=generator, dtype=torch.long).tolist()
        drawn[generator] = ahead = iter(more)
        return next(ahead)

    def forward(
        logits: torch.Tensor,
        generators: dict[int, torch.Generator],
        k: torch.Tensor | None,
        p: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        logits = apply_top_k_top_p(logits, k, p)
        returned = None
        if sampler.logprobs_mode == "processed_logits":
            returned = logits
        elif sampler.logprobs_mode == "processed_logprobs":
            returned = logits.log_softmax(dim=-1, dtype=torch.float32)
        # Draw these even if every completion has a seed: others use the default generator too.
        seeds = torch.randint(0, 2**31, (logits.shape[0],), dtype=torch.long)
        if generators:
            seeds[list(generators)] = torch.tensor([seed(generator) for generator in generators.values()])
        return torch.ops._C.fused_gumbel_argmax(logits.to(dtype=torch.float32), seeds), returned

    sampler.forward = forward


def fuse_norms(model: torch.nn.Module) -> None:
    """Compute each RMS norm in float32 by vLLM's own CPU kernel instead of six torch calls.

    vLLM leaves its kernels to `torch.compile` on a CPU, which takes 10 s at every start. The kernel sums in another
    order. In half precision it would also round elsewhere than the learner's model does, so there it isn't used.
    """
    for norm in _norms(model):
        if norm.weight.dtype == torch.float32 and norm.variance_size_override is None:
            norm._forward_method = _fused(norm)


def unfuse_norms(model: torch.nn.Module) -> None:
    """Restore vLLM's own norms."""
    for norm in _norms(model):
        norm._forward_method = norm.forward_native


def _norms(model: torch.nn.Module) -> list[Any]:
    return [module for module in model.modules() if type(module) is RMSNorm and module.has_weight]


def _fused(norm: Any) -> Callable[..., Any]:
    def forward(x: torch.Tensor, residual: torch.Tensor | None = None) -> Any:
        if not x.is_contiguous() or (residual is not None and not residual.is_contiguous()):
            return norm.forward_native(x, residual)
        if residual is None:
            out = torch.empty_like(x)
            torch.ops._C.rms_norm(out, x, norm.weight, norm.variance_epsilon)
            return out
        torch.ops._C.fused_add_rms_norm(x, residual, norm.weight, norm.variance_epsilon)
        return x, residual

    return forward


def call_directly(model: torch.nn.Module) -> None:
    """Call the kernels of attention and linear layers without what is between: torch's dispatcher and four methods.

    vLLM hides attention from `torch.compile` behind the dispatcher; here nothing is compiled.
    """
    for layer in model.modules():
        if isinstance(layer, Attention):
            layer.use_direct_call = True
        elif _is_plain(layer):
            layer.forward = _kernel_of(layer)


def call_indirectly(model: torch.nn.Module) -> None:
    """Restore vLLM's own calls."""
    for layer in model.modules():
        if isinstance(layer, Attention):
            layer.use_direct_call = False
        elif isinstance(layer, LinearBase):
            vars(layer).pop("forward", None)


def _is_plain(layer: Any) -> bool:
    """Whether a linear layer is whole on this engine and returns (x W + b, None)."""
    return (
        isinstance(layer, LinearBase)
        and layer.tp_size == 1
        and type(layer.quant_method) is UnquantizedLinearMethod
        and not layer.skip_bias_add
        and layer.return_bias
        and hasattr(layer, "cpu_linear")
    )


def _kernel_of(layer: Any) -> Callable[[torch.Tensor], tuple[torch.Tensor, None]]:
    # Looked up at every call: new weights bring a new kernel.
    own, parameters = vars(layer), layer._parameters

    def forward(x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return own["cpu_linear"](x, parameters.get("weight"), parameters.get("bias")), None

    return forward
