"""A keyed pseudo-random permutation of 0 … size-1 that needs no memory: a Feistel cipher, cycle-walked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.support.compile import compiled
from bots.support.random_numbers import mix


@compiled
def permuted(key: int, size: int, start: int, stop: int) -> npt.NDArray[np.int64]:
    """Elements start … stop-1 of the permutation with this key.

    Eight rounds over the least even number of bits that holds `size`; a value out of range is encrypted again
    until it is in range (Black, Rogaway 2002), at most four times on average.
    """
    half = np.uint64(1)
    while (np.uint64(1) << (np.uint64(2) * half)) < np.uint64(size):
        half += np.uint64(1)
    mask = (np.uint64(1) << half) - np.uint64(1)
    out = np.empty(stop - start, np.int64)
    for i in range(start, stop):
        x = np.uint64(i)
        while True:
            left, right = x >> half, x & mask
            for turn in range(8):
                hashed = mix(mix(np.uint64(key) + np.uint64(turn)) ^ right) & mask
                left, right = right, left ^ hashed
            x = (left << half) | right
            if x < np.uint64(size):
                break
        out[i - start] = np.int64(x)
    return out
