"""New weights in a real engine whose completions keep their keys and values; runs inside its actor's process."""

import sys
from types import SimpleNamespace

import numpy as np
import ray

from bots.rollouts.request import Request, Sampling

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def run_out(engine, requests):
    for request in requests:
        engine.submit(request)
    groups = {}
    while engine.unfinished:
        groups |= engine.step()
    return groups


def kept(actor, requests, old, new):
    """Complete requests while weights come, then two more: one with the same prompt, one that continues a completion.

    old, new: buckets of versions 400 and 401. The last request's prompt has whole blocks that the completion has filled
    after the update, from keys and values of the old weights.
    """

    def between_steps(engine):
        engine.abort()
        engine.load(old, 400)
        before = engine.recomputed
        engine._keeps_cache = True
        try:
            for request in requests:
                engine.submit(request)
            groups = engine.step()
            engine.load(new, 401)
            groups |= run_out(engine, [])
            request, rollout = next(
                (request, rollout)
                for request in requests
                for rollout in groups[request.key]
                if len(rollout.spans) == 2
                and len(request.prompt) + rollout.spans[0][1] < 96 < 70 + len(rollout.token_ids)
            )
            again = Request(("again", 1, 0), request.prompt, Sampling(2, 8), 5)
            longer = np.concatenate([request.prompt, rollout.token_ids[: 97 - len(request.prompt)]])
            continued = Request(("continued", 1, 0), longer, Sampling(2, 8), 5)
            others = [(one.prompt, run_out(engine, [one])[one.key]) for one in (again, continued)]
        finally:
            engine.abort()
            engine._keeps_cache = False
        return SimpleNamespace(groups=groups, others=others, recomputed=engine.recomputed - before)

    return actor._between_steps(between_steps)
