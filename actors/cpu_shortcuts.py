"""CPU shortcuts for a vLLM engine: the same tokens with less Python, which is half of a small model's step.

On a GPU, a step's Python code runs while the device works. On a CPU it takes time from the model. The largest shortcut
is in `actors/cpu_decode.py`: several tokens per engine step; `actors/cpu_prompts.py` computes a prompt once for all its
completions. All but the norms give bit-identical results to vLLM's own code; with the norms, log-probabilities differ
by rounding, some 1e-5 (`tests/actors/test_rollout.py`). A shortcut is skipped where vLLM is set up otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from vllm import LLM
from vllm.distributed.kv_transfer import has_kv_transfer_group
from vllm.forward_context import get_forward_context
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
from vllm.v1.attention.backend import AttentionType
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackendImpl
from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler, apply_top_k_top_p

from actors import cpu_decode, cpu_prompts

SEEDS_AHEAD = 32
"""Seeds drawn at a time for a seeded completion; each token takes one."""


def install(llm: LLM) -> None:
    """Install the shortcuts in an engine that runs in this process."""
    core, runner = cpu_decode.parts(llm)
    batched = batch_seeds(runner.sampler.topk_topp_sampler)
    if cpu_decode.supported(core, runner):
        cpu_prompts.install(runner)
        if batched:
            cpu_decode.install(core, runner)
    fuse_norms(runner.model)
    call_directly(runner.model)


def remove(llm: LLM) -> None:
    """Restore vLLM's own code in an engine, to compare the two."""
    core, runner = cpu_decode.parts(llm)
    cpu_decode.remove(core)
    cpu_prompts.remove(runner)
    sampler = runner.sampler.topk_topp_sampler
    sampler.forward = sampler.forward_cpu
    unfuse_norms(runner.model)
    call_indirectly(runner.model)


def batch_seeds(sampler: TopKTopPSampler) -> bool:
    """Draw the noise seeds for a completion's next tokens all at once; returns whether it does.

    vLLM draws one from each completion's generator for every token, with three torch calls. Drawn together, the numbers
    are the same. False, and nothing changed, if vLLM samples in another way.
    """
    if sampler.forward != sampler.forward_cpu or sampler.use_fp64_gumbel:
        return False
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
    return True


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
    """Call the kernels of attention and linear layers without what is between: vLLM's custom operators and methods.

    vLLM hides attention from `torch.compile` behind custom operators; here nothing is compiled.
    """
    for layer in model.modules():
        if _is_plain_attention(layer):
            layer.forward = _attention_of(layer)
        elif _is_plain(layer):
            layer.forward = _kernel_of(layer)


def call_indirectly(model: torch.nn.Module) -> None:
    """Restore vLLM's own calls."""
    for layer in model.modules():
        if isinstance(layer, Attention | LinearBase):
            vars(layer).pop("forward", None)


def _is_plain_attention(layer: Any) -> bool:
    """Whether a layer is causal attention over its own keys and values, in the model's precision."""
    return (
        type(layer) is Attention
        and type(layer.impl) is CPUAttentionBackendImpl
        and layer.attn_type == AttentionType.DECODER
        and layer.kv_sharing_target_layer_name is None
        and layer.query_quant is None
        and layer.head_size == layer.head_size_v
        and layer.impl.sinks is None
        and not has_kv_transfer_group()
    )


def _attention_of(layer: Any) -> Callable[..., torch.Tensor]:
    impl, name, size = layer.impl, layer.layer_name, layer.head_size
    put, attend = (
        torch.ops._C.cpu_attn_reshape_and_cache.default,
        torch.ops._C.cpu_attention_with_kv_cache.default,
    )
    # Views of the layer's cache, which vLLM allocates after the model.
    caches: list[torch.Tensor] = []

    def forward(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *others: Any) -> torch.Tensor:
        context = get_forward_context()
        if not isinstance(context.attn_metadata, dict) or others:
            full: torch.Tensor = Attention.forward(layer, query, key, value, *others)
            return full
        metadata = context.attn_metadata[name]
        if not caches or caches[0] is not layer.kv_cache:
            blocks, heads, block_size, _ = layer.kv_cache.shape
            halves = layer.kv_cache.view(blocks, heads, 2 * block_size, -1).chunk(2, dim=2)
            caches[:] = layer.kv_cache, *halves
        _, keys, values = caches
        scales = layer._k_scale_float, layer._v_scale_float, impl.kv_cache_dtype
        key, value = key.view(-1, layer.num_kv_heads, size), value.view(-1, layer.num_kv_heads, size)
        put(key, value, keys, values, context.slot_mapping[name], layer.isa, *scales)
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        count = metadata.num_actual_tokens
        attend(
            query.view(-1, layer.num_heads, size)[:count],
            keys,
            values,
            output.view(-1, layer.num_heads, size)[:count],
            metadata.query_start_loc,
            metadata.seq_lens,
            impl.scale,
            metadata.causal,
            impl.alibi_slopes,
            impl.sliding_window,
            metadata.block_table,
            impl.logits_soft_cap,
            metadata.scheduler_metadata,
            None,
            metadata.dynamic_causal,
            *scales,
        )
        return output

    return forward


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
