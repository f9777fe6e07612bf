"""Random numbers inside compiled code: xoshiro256++ streams, normal, and Beta draws."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import numpy.typing as npt

from bots.support.compile import compiled

State = npt.NDArray[np.uint64]


@compiled
def mix(x: np.uint64) -> np.uint64:
    """One output of SplitMix64 (Steele, Lea, Flood 2014) for the state x: a well mixed 64-bit hash."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def stream(seed: np.uint64, number: int) -> State:
    """State uint64 (4,) of stream `number` of a seed."""
    state = np.empty(4, np.uint64)
    x = mix(seed ^ mix(np.uint64(number)))
    for i in range(4):
        x = mix(x)
        state[i] = x
    return state


@compiled
def next_bits(s: State) -> np.uint64:
    """xoshiro256++ (Blackman, Vigna 2021): 64 random bits."""
    a = s[0] + s[3]
    bits: np.uint64 = ((a << np.uint64(23)) | (a >> np.uint64(41))) + s[0]
    t = s[1] << np.uint64(17)
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = (s[3] << np.uint64(45)) | (s[3] >> np.uint64(19))
    return bits


@compiled
def uniform(s: State) -> float:
    """Uniform in the open interval (0, 1): the midpoints of 2^53 equal cells."""
    return (np.float64(next_bits(s) >> np.uint64(11)) + 0.5) * 1.1102230246251565e-16


@compiled
def normals(s: State) -> tuple[float, float]:
    """Two independent standard normals (Marsaglia's polar method)."""
    while True:
        x = 2.0 * uniform(s) - 1.0
        y = 2.0 * uniform(s) - 1.0
        r = x * x + y * y
        if 0.0 < r < 1.0:
            scale = sqrt(-2.0 * log(r) / r)
            return x * scale, y * scale


@compiled
def gamma(s: State, shape: float, normal: float) -> float:
    """Gamma(shape ≥ 1, 1) by Marsaglia and Tsang (2000), whose first normal is given."""
    d = shape - 1.0 / 3.0
    c = 1.0 / sqrt(9.0 * d)
    x = normal
    while True:
        v = 1.0 + c * x
        if v > 0.0:
            v = v * v * v
            u = uniform(s)
            square = x * x
            if u < 1.0 - 0.0331 * square * square or log(u) < 0.5 * square + d * (1.0 - v + log(v)):
                return d * v
        x, _ = normals(s)


@compiled
def beta_draw(s: State, a: float, b: float) -> float:
    """θ ~ Beta(a, b), a, b > 0."""
    x, y = normals(s)
    if a >= 1.0 and b >= 1.0:
        g = gamma(s, a, x)
        return g / (g + gamma(s, b, y))
    # Gamma(a) = Gamma(a+1)·U^(1/a), in logarithms: both may be too small for a float.
    log_g = log(gamma(s, a + 1.0, x)) + log(uniform(s)) / a
    log_h = log(gamma(s, b + 1.0, y)) + log(uniform(s)) / b
    d = log_h - log_g
    return 1.0 / (1.0 + exp(d)) if d < 700.0 else 0.0
