"""The law by which the simulated policy learns from a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from bots.simulation.world import Items, World, sigmoid
from bots.support.arrays import Float64, Rows, as_batch
from bots.support.checks import finite, whole

BINS = 24


@dataclass(frozen=True)
class Law:
    """How ability moves. The policy passes task k with probability

        p_k = σ(a_k·(θ(domain, d_k) − d_k) + ε_k + m_k),

    where θ is its ability at tasks of that domain and difficulty, ε_k a residual, and m_k what it has learned from
    task k itself.

    Derivation. REINFORCE with a baseline on a policy whose success is Bernoulli(σ(η)) has the expected
    gradient dp/dη = p·(1−p) (Williams 1992); a group of equal rewards has none, and in general the gradient's
    norm is bounded by the standard deviation of the rewards (Razin et al. 2024, arXiv 2310.20703), while the
    variance p(1−p) bounds the improvement from one prompt (Bae et al. 2025, arXiv 2504.03380). So each group
    contributes v, the unbiased variance of its rewards, and a batch of B tasks moves

        θ(domain, d) += rate·(1/B)·Σ_k a_k·v_k·exp(−(d − d_k)²/(2·transfer²))   (k of that domain)
        m_k          += own·a_k·v_k                                              (k in the batch)

    and the other domains' abilities at the same d by the share `across` of that. During the first `warmup` steps
    rate and own rise linearly, as the learning rate does. Between steps θ decays
    towards its start by the share `forgetting`, and m_k decays by `own_forgetting`.
    Because transfer fades with the distance in difficulty, there is a frontier: easy tasks do not teach hard ones.
    """

    rate: float = 0.3
    """Logits of ability per unit of mean a·v (which is 0.25 at best)."""
    transfer: float = 1.5
    """Reach of a gain, in logits of difficulty; inf: one ability per domain."""
    across: float = 0.0
    """Share of a gain in ability that every other domain has too; below 0: domains unlearn each other."""
    own: float = 1.0
    """Logits of a task's own gain per unit of a·v."""
    forgetting: float = 0.001
    """Share of the gained ability that is lost in a step."""
    own_forgetting: float = 0.003
    """Share of a task's own gain that is lost in a step."""
    warmup: int = 0
    """Steps over which the learning rate rises to its full value."""
    residual: float = 0.7
    """Standard deviation of ε."""
    churn: float = 0.0
    """Share of ε's variance that is redrawn in a step: single tasks drift, whatever the batch."""
    drift: float = 0.0
    """Logits of ability added to all in a step, whatever the batch."""
    jump_every: int = 0
    """Steps between jumps of the drift's direction and of all ε; 0: never."""
    reward_concentration: float = 0.0
    """0: binary rewards. c > 0: rewards in [0, 1], distributed as Beta(c·p, c·(1−p))."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if each.name != "transfer":  # which may be infinite
                finite(each.name, getattr(self, each.name))
        for name in ("warmup", "jump_every"):
            whole(name, getattr(self, name), 0)
        for name in ("rate", "own", "residual", "reward_concentration"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be ≥ 0")
        for name in ("forgetting", "own_forgetting", "churn"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in [0, 1]")
        if not -1 <= self.across <= 1:
            raise ValueError(f"across is {self.across}; it must be in [-1, 1]")
        if not self.transfer > 0:
            raise ValueError(f"transfer is {self.transfer}; it must be > 0")


class SimulatedLearner:
    """The policy: generates completions and learns from batches. seed: of its residuals and completions."""

    def __init__(self, world: World, law: Law, seed: int) -> None:
        self.law, self.train, self.held_out = law, world.train, world.held_out
        self.rng = np.random.default_rng((seed, 1))
        low = min(self.train.difficulty.min(), self.held_out.difficulty.min())
        high = max(self.train.difficulty.max(), self.held_out.difficulty.max())
        self.bins = np.linspace(low, high, BINS)
        """Difficulties at which the ability is followed, float64 (BINS,)."""
        self.ability = np.zeros((len(world.spec.domains), BINS))
        """θ by domain and difficulty, logits."""
        self.residual = self.rng.normal(0, law.residual, len(self.train.domain))
        self.held_out_residual = self.rng.normal(0, law.residual, len(self.held_out.domain))
        self.own = np.zeros(len(self.train.domain))
        self.own_step = np.zeros(len(self.train.domain), np.int64)
        self.base, self.direction, self.step = 0.0, 1.0, 0

    def pass_rates(self, rows: Rows | slice = slice(None)) -> Float64:
        """True p (R,) of training tasks at this step."""
        faded = self.own[rows] * (1 - self.law.own_forgetting) ** (self.step - self.own_step[rows])
        return self._rates(self.train, rows, self.residual[rows] + faded)

    def score(self) -> float:
        """Expected mean pass rate on the held-out tasks: an evaluation without noise."""
        return float(np.mean(self._rates(self.held_out, slice(None), self.held_out_residual)))

    def _rates(self, items: Items, rows: Rows | slice, extra: Float64) -> Float64:
        difficulty = items.difficulty[rows]
        place = (difficulty - self.bins[0]) / max(self.bins[1] - self.bins[0], 1e-12)
        nearest = np.minimum(np.rint(place).astype(np.int64), BINS - 1)
        ability = self.base + self.ability[items.domain[rows], nearest]
        return sigmoid(items.discrimination[rows] * (ability - difficulty) + extra)

    def generate(self, rows: Rows, rollouts: int | Rows) -> Float64 | list[Float64]:
        """Rewards of new completions of the tasks: (B, n), or a list of arrays where `rollouts` (B,) differ."""
        counts = np.broadcast_to(np.asarray(rollouts, np.int64), rows.shape)
        p = np.repeat(self.pass_rates(rows), counts)
        if c := self.law.reward_concentration:
            p = np.clip(p, 1e-9, 1 - 1e-9)  # Beta's parameters must be positive
            rewards = self.rng.beta(c * p, c * (1 - p))
        else:
            rewards = (self.rng.random(len(p)) < p).astype(np.float64)
        return as_batch(np.split(rewards, np.cumsum(counts)[:-1]))

    def learn(self, rows: Rows, rewards: Float64 | Sequence[Float64]) -> None:
        """One training step on the groups, (B, n) or a list of arrays, n ≥ 2, with the drift of one step.

        Every group counts alike, whatever its size, as in the learner with `group_weights: task`.
        """
        law, items = self.law, self.train
        heat = min(1.0, (self.step + 1) / law.warmup) if law.warmup else 1.0
        signal = heat * items.discrimination[rows] * np.array([group.var(ddof=1) for group in rewards])
        distance = (self.bins[None, :] - items.difficulty[rows, None]) / law.transfer
        reach: npt.NDArray[np.float64] = np.exp(-0.5 * distance**2) * (signal * law.rate / len(rows))[:, None]
        self.ability *= 1 - law.forgetting
        gain = np.zeros_like(self.ability)
        np.add.at(gain, items.domain[rows], reach)
        self.ability += gain + law.across * (gain.sum(axis=0) - gain)
        faded = self.own[rows] * (1 - law.own_forgetting) ** (self.step - self.own_step[rows])
        self.own[rows] = faded + law.own * signal
        self.own_step[rows] = self.step
        self.step += 1
        self._drift()

    def _drift(self) -> None:
        law = self.law
        jump = law.jump_every > 0 and self.step % law.jump_every == 0
        if jump:
            self.direction = -self.direction
        self.base += self.direction * law.drift
        share = 1.0 if jump else law.churn
        if share:
            fresh = self.rng.normal(0, law.residual, len(self.residual))
            self.residual = np.sqrt(1 - share) * self.residual + np.sqrt(share) * fresh
