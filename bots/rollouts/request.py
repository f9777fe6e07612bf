"""What is asked of an engine: one prompt, answered several times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RequestKey = tuple[str, int, int]
"""What the request is for, "train" or "evaluate"; the selection or evaluation that it belongs to; the pool's row."""


class RefusedError(ValueError):
    """A request that the engine can't serve, in its own words; the engine goes on."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a prompt is answered: the number of answers, their longest length in tokens, temperature, top-p.

    stop_ids: tokens that end a completion besides those by which the engine ends one by itself.
    """

    samples: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt, int32 (P,). seed: None draws it anew each time; else the answers depend on nothing but it.

    losses: how many engines were lost that had it.
    """

    key: RequestKey
    prompt: npt.NDArray[np.int32]
    sampling: Sampling
    seed: int | None
    losses: int = 0


def request_seed(run_seed: int, wave: int, row: int) -> int:
    """Seed of a request, a function of run, selection and task alone.

    vLLM gives the i-th answer of a request the seed plus i; requests are spread far apart.
    """
    state = np.random.SeedSequence((run_seed, wave, row)).generate_state(1)[0]
    return int(state % (2**31 - 2**16))
