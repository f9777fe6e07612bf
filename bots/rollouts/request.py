"""A request to an engine: one prompt, completed several times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RequestKey = tuple[str, int, int]
"""Purpose ("train" or "evaluate"), wave (0 in an evaluation), and the task's row in the pool."""


class RefusedError(ValueError):
    """A request the engine cannot serve, with the engine's reason; the engine keeps running."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters: completions per prompt (n), maximum length in tokens, temperature, top-p.

    stop_ids: tokens that end a completion, in addition to the engine's own.
    """

    samples: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt, int32 (P,). seed: fixes the completions; None: they differ each time.

    losses: number of engines lost while they had the request.
    """

    key: RequestKey
    prompt: npt.NDArray[np.int32]
    sampling: Sampling
    seed: int | None
    losses: int = 0


def request_seed(run_seed: int, wave: int, row: int) -> int:
    """Seed of a request: a function of run, wave and task only.

    vLLM uses the seed plus i for the i-th completion of a request, so the seeds of requests are far apart.
    """
    state = np.random.SeedSequence((run_seed, wave, row)).generate_state(1)[0]
    return int(state % (2**31 - 2**16))
