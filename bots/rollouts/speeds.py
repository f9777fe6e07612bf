"""How fast engines are, relative to each other, measured while they generate.

A completion gets its tokens at some pace, which falls with the number of completions b that share the engine, as b^-e:
e is 1 where an engine has a fixed number of tokens per second, as on a CPU, and near 0 where a step takes as long for
one completion as for many, as on a GPU with room. All engines have the same e, fitted to how each one's pace changes
with its own b. An engine's speed is what remains of its pace, so an engine is not faster for having less to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import median

ALIKE = 0.05
"""Engines whose speed differs from the median by less than this share count as alike."""

SLOWEST = 1 / 8
"""No engine counts as slower than this, relative to the median, so that each gets work and is measured again."""

_PER_REPORT, _PER_WAVE = 1 - 1 / 32, 0.85
_LEAST_REPORTS = 0.5
# What is likely before anything is measured: e with its standard deviation, and the noise of log pace in a report. The
# latter counts as much as four reports.
_E, _E_DOUBT = 0.5, 0.3
_NOISE, _NOISE_REPORTS = 0.2, 4.0


@dataclass(eq=False)
class Pace:
    """What an engine's reports say about log pace y (tokens per second of one completion) at log b, x.

    Sums over reports, weighted by seconds of engine steps; earlier ones count less and less.
    """

    reports: float = 0.0
    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    def add(self, tokens: float, seconds: float, completion_seconds: float) -> None:
        """Add a report.

        tokens: generated since the last report. seconds: of engine steps. completion_seconds: the same, times the
        number of completions in each step.
        """
        if not (tokens > 0 and seconds > 0 and completion_seconds > 0):
            return
        self.fade(_PER_REPORT)
        x, y = log(completion_seconds / seconds), log(tokens / completion_seconds)
        self.reports += 1
        self.weight += seconds
        self.x += seconds * x
        self.y += seconds * y
        self.xx += seconds * x * x
        self.xy += seconds * x * y
        self.yy += seconds * y * y

    def fade(self, factor: float = _PER_WAVE) -> None:
        """Let what was reported count less, as at the start of a wave: an engine may have changed."""
        self.reports *= factor
        self.weight *= factor
        self.x *= factor
        self.y *= factor
        self.xx *= factor
        self.xy *= factor
        self.yy *= factor

    @property
    def known(self) -> bool:
        """Whether there are enough reports to say something."""
        return self.reports >= _LEAST_REPORTS

    def spread(self) -> tuple[float, float, float]:
        """Mean squares and product of x and y around their means, as xx, xy, yy."""
        x, y = self.x / self.weight, self.y / self.weight
        return (
            max(0.0, self.xx / self.weight - x * x),
            self.xy / self.weight - x * y,
            max(0.0, self.yy / self.weight - y * y),
        )


def relative_speeds(paces: Sequence[Pace]) -> list[float]:
    """Each engine's speed relative to the median of those that are known; 1 for those that are not.

    Also 1 for an engine whose difference from the median may be chance, or due to an e that is hardly known.
    """
    known = [pace for pace in paces if pace.known]
    if len(known) < 2:
        return [1.0] * len(paces)
    spreads = [pace.spread() for pace in known]
    reports = sum(pace.reports for pace in known)
    xx, xy, yy = (
        sum(pace.reports * spread[place] for pace, spread in zip(known, spreads, strict=True))
        for place in range(3)
    )
    residual = yy - xy * xy / xx if xx > 0 else yy
    freedom = max(0.0, reports - len(known))
    variance = (max(0.0, residual) + _NOISE_REPORTS * _NOISE**2) / (freedom + _NOISE_REPORTS)
    certainty = xx / variance + 1 / _E_DOUBT**2
    e = min(1.0, max(0.0, (-xy / variance + _E / _E_DOUBT**2) / certainty))
    logs = [(pace.y + e * pace.x) / pace.weight for pace in known]
    middle, usual_x = median(logs), median(pace.x / pace.weight for pace in known)
    found = {}
    for pace, mine in zip(known, logs, strict=True):
        # Two standard errors: of its pace, and of what its number of completions explains.
        doubt = 2 * sqrt(variance / pace.reports) + 2 * abs(pace.x / pace.weight - usual_x) / sqrt(certainty)
        speed = max(SLOWEST, exp(mine - middle))
        found[id(pace)] = speed if abs(mine - middle) > max(ALIKE, doubt) else 1.0
    return [found.get(id(pace), 1.0) for pace in paces]
