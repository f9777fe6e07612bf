"""An engine with and without its CPU shortcuts, and what its model computes; runs inside its actor's process."""

import sys

import ray

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def without_shortcuts(actor):
    """vLLM's own code in a running engine. (Imported in the engine's process: here it would load vLLM.)"""
    from actors import cpu_shortcuts

    actor._between_steps(lambda engine: cpu_shortcuts.remove(engine.llm))


def with_shortcuts(actor):
    from actors import cpu_shortcuts

    actor._between_steps(lambda engine: cpu_shortcuts.install(engine.llm))


def with_exact_shortcuts(actor):
    from actors import cpu_decode, cpu_shortcuts

    def install(engine):
        cpu_shortcuts.install(engine.llm)
        cpu_shortcuts.unfuse_norms(cpu_decode.parts(engine.llm)[1].model)

    actor._between_steps(install)


def count_tokens(actor):
    """Count the tokens that the model computes, from now on."""
    from actors import cpu_decode

    def count(module, arguments, named):
        actor.computed += len(named["positions"])

    def install(engine):
        actor.computed = 0
        actor.hook = cpu_decode.parts(engine.llm)[1].model.register_forward_pre_hook(count, with_kwargs=True)

    actor._between_steps(install)


def counted(actor):
    actor.hook.remove()
    return actor.computed


def occupy_cache(actor, left):
    """Hold all but `left` blocks of the KV cache; None: release them."""
    from actors import cpu_decode

    def occupy(engine):
        pool = cpu_decode.parts(engine.llm)[0].scheduler.kv_cache_manager.block_pool
        if left is None:
            pool.free_blocks(actor.held)
        else:
            actor.held = pool.get_new_blocks(pool.get_num_free_blocks() - left)

    actor._between_steps(occupy)
