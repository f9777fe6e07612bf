"""vLLM's asynchronous scheduling in a real engine, with a stand-in for the model: a CPU engine has it off.

With it, a step schedules the next tokens before the last ones are there, so new weights arrive while tokens of the old
ones are on their way. The scheduler, its queue of batches and the weight update are vLLM's own; the model's tokens say
where they stand, and their log-probabilities which weights sampled them.
"""

import sys
from collections import deque
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import ray

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Executor:
    """Executes at once, as a GPU's stream does in its order, and hands the result over later."""

    def __init__(self, real):
        self._real, self.weights, self._prompts, self._output = real, 0, {}, None

    def __getattr__(self, name):
        return getattr(self._real, name)

    def execute_model(self, scheduled, non_block=False):
        from vllm.v1.outputs import LogprobsLists, ModelRunnerOutput

        self._prompts |= {new.req_id: len(new.prompt_token_ids) for new in scheduled.scheduled_new_reqs}
        cached = scheduled.scheduled_cached_reqs
        known = [(new.req_id, new.num_computed_tokens, 0) for new in scheduled.scheduled_new_reqs]
        known += zip(cached.req_ids, cached.num_computed_tokens, cached.num_output_tokens, strict=True)
        names, tokens = [], []
        for name, computed, outputs in known:
            reached = computed + scheduled.num_scheduled_tokens[name]
            names.append(name)
            tokens.append(reached if reached >= self._prompts[name] + outputs else None)
        ids = np.array([[5 + (place or 0) % 20] for place in tokens], np.int64)
        chances = np.array([[-(self.weights + (place or 0) / 1024)] for place in tokens], np.float32)
        self._output = ModelRunnerOutput(
            names,
            {name: i for i, name in enumerate(names)},
            [[] if place is None else [5 + place % 20] for place in tokens],
            LogprobsLists(ids, chances, np.zeros(len(names), np.int64)),
        )
        return done(None if names else self._output)

    def sample_tokens(self, grammar, non_block=False):
        return done(self._output)


def done(value):
    future = Future()
    future.set_result(value)
    return future


def play(actor, requests, buckets, keeps):
    """Complete requests while three policy versions arrive; returns the groups by request key.

    keeps: whether completions in progress keep their keys and values (`rollout.keep_kv_cache`).
    """
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler

    from actors import cpu_shortcuts

    def between_steps(engine):
        engine.abort()
        cpu_shortcuts.remove(engine.llm)
        core = engine.llm.llm_engine.engine_core.engine_core
        before = core.scheduler, core.model_executor, core.batch_queue, core.step_fn
        core.vllm_config.scheduler_config.async_scheduling = True
        core.scheduler = AsyncScheduler(
            core.vllm_config, before[0].kv_cache_config, core.structured_output_manager,
            before[0].block_size, before[0].hash_block_size,
        )  # fmt: skip
        core.model_executor = executor = Executor(before[1])
        core.batch_queue, core.batch_queue_size = deque(maxlen=2), 2
        core.step_fn = core.step_with_batch_queue
        engine._keeps_cache = keeps
        groups, on_their_way = {}, 0
        try:
            for version in (100, 101, 102):
                executor.weights = version
                engine.load(buckets, version)
                if version == 100:
                    for request in requests:
                        engine.submit(request)
                for _ in range(9):
                    groups |= engine.step()
                on_their_way += len(core.batch_queue)
            while engine.unfinished:
                groups |= engine.step()
        finally:
            engine.abort()
            engine._keeps_cache = False
            core.scheduler, core.model_executor, core.batch_queue, core.step_fn = before
            core.vllm_config.scheduler_config.async_scheduling = False
            cpu_shortcuts.install(engine.llm)
        return SimpleNamespace(groups=groups, on_their_way=on_their_way)

    return actor._between_steps(between_steps)
