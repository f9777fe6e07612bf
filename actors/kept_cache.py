"""New weights under completions in progress that keep their keys and values (`rollout.keep_kv_cache`).

vLLM's own way is to drop its cache and compute everything again. Here it goes on from what the old weights computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vllm.v1.core.sched.interface import PauseState


@contextmanager
def draining(core: Any) -> Iterator[Any]:
    """Inside, an engine step schedules no token, but brings those that are on their way.

    Yields a function that says whether there are any: with asynchronous scheduling vLLM hands out a step's tokens
    later, and would take them for tokens of the weights that it holds then. core: vLLM's `EngineCore`, in this process.
    """
    before = core.scheduler.pause_state
    core.scheduler.set_pause_state(PauseState.PAUSED_ALL)
    try:
        yield lambda: bool(core.batch_queue)
    finally:
        core.scheduler.set_pause_state(before)


def held_tokens(core: Any) -> int:
    """Number of tokens of completions in progress whose keys and values are in the cache."""
    return sum(request.num_computed_tokens for request in core.scheduler.running)


def forget_prefixes(core: Any, version: int) -> None:
    """Leave completions in progress as they are, and let no other one use what the old weights have computed.

    version: the new policy version. Call it when nothing is on its way.
    """
    scheduler = core.scheduler
    pool = scheduler.kv_cache_manager.block_pool
    cached = {block.block_id for block in pool.blocks if block.block_hash is not None}
    scheduler.kv_cache_manager.evict_blocks(cached | set(pool.cached_block_hashes_by_block))
    for request in scheduler.running:
        # Blocks that these fill from now on continue old ones: no other request may find them.
        request.cache_salt = f"{request.request_id} before policy version {version}"
        request.block_hashes.clear()
        request.update_block_hashes()
