"""Simulated tasks: latent difficulties, and anchors as two imperfect reference models would measure them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bots.pool import TaskPool
from bots.support.arrays import Float64
from bots.support.checks import finite, whole


@dataclass(frozen=True)
class WorldSpec:
    """What the tasks are like. All difficulties and abilities are in logits.

    A model of ability θ passes task k with probability σ(a_k·(θ − d_k) + ε), the two-parameter item response
    model (Birnbaum 1968) with a residual ε of each model's own on each task.
    """

    tasks: int = 10_000
    """K."""
    domains: Mapping[str, float] = field(default_factory=lambda: {"math": 1.0})
    """Share of each domain in the pool; shares are normalised."""
    difficulty_mean: float = 2.0
    """Mean of d: 2 logits above the untrained policy's ability 0, so that its mean pass rate is low."""
    difficulty_sd: float = 2.5
    """Standard deviation of d within a domain, or within a level of it."""
    levels: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Mean d of a domain's levels, equally many tasks each, instead of difficulty_mean; empty: no levels."""
    domain_gap: float = 0.0
    """Distance between the mean difficulties of one domain and the next."""
    discrimination_sd: float = 0.2
    """Standard deviation of ln a."""
    weak: float | Mapping[str, float] = -0.5
    """Ability of the weak reference model, one for all or one for each domain."""
    strong: float | Mapping[str, float] = 3.0
    """Ability of the strong one."""
    anchor_residual: float = 1.0
    """Standard deviation of the reference models' ε: how differently they find a task than the policy does."""
    anchor_samples: int = 16
    """Samples behind each anchor pass rate: the measurement noise."""
    missing: float = 0.0
    """Share of tasks without anchors."""
    embedding: int = 0
    """Dimensions of each task's embedding, for methods that need one; 0: none."""
    embedding_signal: float = 1.0
    """How much difficulty shows in the embedding: its standard deviation along one direction for each domain, while all
    dimensions have noise of standard deviation 1."""
    held_out: int = 1_000
    """Tasks of the evaluation set, from the same distribution and never trained on."""

    def __post_init__(self) -> None:
        for each in fields(self):
            finite(each.name, getattr(self, each.name))
        for name, least in (("tasks", 1), ("held_out", 1), ("anchor_samples", 1), ("embedding", 0)):
            whole(name, getattr(self, name), least)
        for name, meant in (("domains", "its share"), ("levels", "the mean difficulties of its levels")):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(  # noqa: TRY004
                    f"{name} is {getattr(self, name)!r}; it must be a mapping from domain to {meant}"
                )
        if not self.domains or min(self.domains.values()) <= 0:
            raise ValueError(f"domains is {dict(self.domains)}; every share must be > 0")
        for name in ("weak", "strong"):
            ability = getattr(self, name)
            if isinstance(ability, Mapping) and set(ability) != set(self.domains):
                raise ValueError(f"{name} is {dict(ability)}; it must be one number, or one for each domain")
        for name in (
            "difficulty_sd",
            "discrimination_sd",
            "anchor_residual",
            "embedding_signal",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be ≥ 0")
        sizes = {domain: np.size(means) for domain, means in self.levels.items()}
        if self.levels and (set(self.levels) != set(self.domains) or not all(sizes.values())):
            raise ValueError(
                f"levels has {sizes}; every domain of "
                f"{list(self.domains)} needs at least one level, or none of them any"
            )
        if not 0 <= self.missing <= 1:
            raise ValueError(f"missing is {self.missing}; it must be in [0, 1]")


@dataclass(frozen=True)
class Items:
    """Latent truth about N tasks: domain and level int64, difficulty and discrimination float64, (N,) each.

    level: 1 for a domain's first, 0 in a world without levels.
    """

    domain: npt.NDArray[np.int64]
    level: npt.NDArray[np.int64]
    difficulty: Float64
    discrimination: Float64

    @classmethod
    def draw(cls, spec: WorldSpec, size: int, rng: np.random.Generator) -> Items:
        """`size` tasks of the specified world."""
        shares = np.array(list(spec.domains.values()))
        domain = rng.choice(len(shares), size, p=shares / shares.sum())
        mean = np.full(size, spec.difficulty_mean)
        level = np.zeros(size, np.int64)
        for code, name in enumerate(spec.domains):
            if spec.levels:
                own, means = domain == code, np.asarray(spec.levels[name], np.float64)
                drawn = rng.choice(len(means), int(own.sum()))
                mean[own], level[own] = means[drawn], drawn + 1
        difficulty = rng.normal(mean, spec.difficulty_sd) + spec.domain_gap * domain
        return cls(domain, level, difficulty, np.exp(rng.normal(0, spec.discrimination_sd, size)))


class World:
    """Training tasks with their pool, and held-out tasks. seed: everything follows from it."""

    def __init__(self, spec: WorldSpec, seed: int) -> None:
        rng = np.random.default_rng((seed, 0))
        self.spec = spec
        self.train = Items.draw(spec, spec.tasks, rng)
        self.held_out = Items.draw(spec, spec.held_out, rng)
        names = np.array(list(spec.domains))
        columns = {
            "domain": names[self.train.domain],
            "weak": self._anchor(spec.weak, rng),
            "strong": self._anchor(spec.strong, rng),
        }
        if spec.levels:
            columns["level"] = self.train.level
        if spec.embedding:
            columns["embedding"] = self._embeddings(np.random.default_rng((seed, 3)))
        self.pool = TaskPool.from_arrow(pa.table(columns), weak="weak", strong="strong")

    def _embeddings(self, rng: np.random.Generator) -> pa.Array:
        """Fixed-size lists, from a generator of their own, so that a world is the same with and without them."""
        spec, items = self.spec, self.train
        direction = rng.normal(size=(len(spec.domains), spec.embedding))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        signal = (items.difficulty - items.difficulty.mean()) / max(items.difficulty.std(), 1e-12)
        vectors = rng.normal(size=(spec.tasks, spec.embedding))
        vectors += spec.embedding_signal * signal[:, None] * direction[items.domain]
        return pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), spec.embedding)

    def _anchor(self, ability: float | Mapping[str, float], rng: np.random.Generator) -> pa.Array:
        spec, items = self.spec, self.train
        if isinstance(ability, Mapping):
            by_domain = np.array([ability[name] for name in spec.domains])[items.domain]
        else:
            by_domain = np.full(spec.tasks, ability)
        own = rng.normal(0, spec.anchor_residual, spec.tasks)
        rate = sigmoid(items.discrimination * (by_domain - items.difficulty) + own)
        measured = rng.binomial(spec.anchor_samples, rate) / spec.anchor_samples
        return pa.array(measured, mask=rng.random(spec.tasks) < spec.missing)


def sigmoid(x: Float64) -> Float64:
    """1/(1 + exp(−x)) without overflow."""
    value: Float64 = 0.5 * (1 + np.tanh(x / 2))
    return value
