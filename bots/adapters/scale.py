"""Rewards of any range as numbers in [0, 1], which is what a belief about a success probability takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bots.support.arrays import Float64

Scale = tuple[float, float] | Callable[[Float64], npt.ArrayLike] | None
"""None: rewards are in [0, 1]. (low, high): they are in [low, high]. A function: of rewards (N,), to (N,) in [0, 1]."""
ROUNDING = 1e-5
"""So far outside [0, 1] a number is taken for its nearest end: trainers add rewards up in 32 bits."""


def check_scale(scale: Scale) -> None:
    """Raise ValueError for a pair that is no range."""
    if isinstance(scale, tuple) and not (len(scale) == 2 and scale[0] < scale[1]):
        raise ValueError(f"scale is {scale}; it must be (lowest reward, highest reward), or a function")


def to_unit(rewards: Float64, scale: Scale, name: Callable[[int], str]) -> Float64:
    """The rewards (N,) in [0, 1]; NaN stays NaN.

    name: what to call the n-th of them in an error. Raises ValueError for a reward that ends up outside [0, 1].
    """
    check_scale(scale)
    if scale is None:
        unit = rewards
    elif isinstance(scale, tuple):
        unit = (rewards - scale[0]) / (scale[1] - scale[0])
    else:
        unit = np.asarray(scale(rewards), np.float64)
        if unit.shape != rewards.shape:
            raise ValueError(
                f"scale made {unit.shape} of rewards of shape {rewards.shape}; the shape must stay"
            )
    outside = (unit < -ROUNDING) | (unit > 1 + ROUNDING)
    if outside.any():
        at = int(np.argmax(outside))
        became = "" if scale is None else f", which scale makes {unit[at]:g}"
        raise ValueError(
            f"the reward of {name(at)} is {rewards[at]:g}{became}; BOTS needs [0, 1]: give scale=(lowest, highest) of "
            "your rewards, or a function"
        )
    clipped: Float64 = np.clip(unit, 0, 1)
    return clipped
