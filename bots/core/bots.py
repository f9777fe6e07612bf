"""BOTS: the task selection of one training run behind five calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bots.allocation import EVEN
from bots.allocation.allocator import Allocator
from bots.belief.models import Modelled
from bots.belief.prior import Prior, PriorSpec
from bots.belief.rewards import merge_rewards
from bots.belief.snapshot import check_extends, read_snapshot, write_snapshot
from bots.core.parts import Parts
from bots.metrics.step import step_metrics
from bots.pool import TaskPool, check_rows
from bots.selection import SelectionRequest
from bots.selection.base import checked_rows
from bots.selection.domain_shares import Shares
from bots.settings import AUTO, HISTORY, Settings, belief_for, prior_for, resolve, share, target
from bots.support.arrays import Float64, Rows, distinct, read_only
from bots.support.checks import whole


class BOTS:
    """Bayesian online task selection (arXiv 2510.26374) over one pool.

    pool: the tasks.
    p_star: p*, target success probability, in (0, 1).
    lam: λ, forgetting, in [0, 1]; None: the selector's default, 0.1 for most.
    rho: ρ, weight of implicit evidence, in [0, 1]; None: the selector's default, 0.1 for most. With selector `bots`,
        λ and ρ tune themselves if both are None.
    rollouts: n, rollouts per task, or their mean where `allocation` varies them. Else used only for the bound of the
        evidence mass, n/λ: tasks outside a batch get implicit counts for the batch's mean number of rollouts.
    seed: seeds all random choices.
    selector, evidence, adaptor, allocation: a name listed in `bots.support.registry`, or "module:Class".
    evidence: None or "none": explicit evidence only; "default": the selector's default, auto for most, which is
        interpolation where anchors are known, else the means of levels.
    prior: (α0, β0); two arrays of the pool's length; a dict from domain to (α0, β0); AnchorPrior, from the reference
        pass rates; "anchors", the same with strength 2; "auto": AnchorPrior(8) where reference pass rates are known
        and belief is beta, unless another selector or a setting of the Beta update is given; else (1, 1).
    forgetting: "step", or "observation" (see Posterior); "default": the selector's default, step for most.
    adaptor: tunes λ, ρ and, on request, p*. None: they stay fixed; "default": predictive for selector `bots` where
        neither λ nor ρ is given, else None.
    belief: "beta", the paper's update; "state_space" (docs/beliefs.md); "module:Class"; "auto": state_space where no
        reference pass rates are known, and levels (with `crowding` 0.25) or embeddings are, unless another selector or
        a setting of the Beta update is given; else beta.
    *_options: keyword arguments of the plug-ins' classes.
    domain_shares: share of every batch for each domain, e.g. {"math": 3, "code": 1}; "weights" takes them from
        the pool's column `weight`; None: no quotas.
    cooldown: steps for which a selected task is not selected again, fewer where more than half of the pool, or of a
        domain that has a share, would rest; 0: off; None: 15 with an adaptor or another belief than beta, else 0.
    retire_above: tasks whose posterior mean is at least this after an observation are not selected for
        `recheck` steps; None: off.
    history: evidence up to this many steps behind the latest is still accepted.
    threads: of the update; None: one per usable core, at most 8. Results don't depend on it.

    A wave is one selection of tasks, numbered from 0 or 1. In a synchronous loop wave and training step are the same,
    hence the parameter `step` below; a loop that selects ahead passes the number of the wave, and durations given in
    steps count waves.

    `settings` shows the resolved values. Bad input raises ValueError and leaves the state unchanged.
    Not thread-safe: one caller at a time.
    """

    def __init__(
        self,
        pool: TaskPool,
        p_star: float = 0.5,
        lam: float | None = None,
        rho: float | None = None,
        rollouts: int = 16,
        seed: int = 0,
        *,
        selector: str = "bots",
        selector_options: Mapping[str, Any] | None = None,
        evidence: str | None = "default",
        evidence_options: Mapping[str, Any] | None = None,
        prior: PriorSpec | str = AUTO,
        forgetting: str = "default",
        adaptor: str | None = "default",
        adaptor_options: Mapping[str, Any] | None = None,
        allocation: str = EVEN,
        allocation_options: Mapping[str, Any] | None = None,
        belief: str = AUTO,
        belief_options: Mapping[str, Any] | None = None,
        domain_shares: Shares = None,
        cooldown: int | None = None,
        retire_above: float | None = None,
        recheck: int = 50,
        history: int = HISTORY,
        threads: int | None = None,
    ) -> None:
        given = dict(locals())  # exactly the arguments
        for name in ("self", "pool", "prior"):
            del given[name]
        if belief == AUTO:
            resolve(**given)  # so that errors name what was given
            given |= belief_for(pool, **given)
        if isinstance(prior, str) and prior == AUTO:
            prior = prior_for(pool, **given)
        self._build(pool, resolve(**given), Prior(pool, prior))

    def _build(self, pool: TaskPool, settings: Settings, prior: Prior) -> None:
        self.pool = pool
        self._settings = settings
        self.p_star, self.lam, self.rho = settings.p_star, settings.lam, settings.rho
        self._rng = np.random.default_rng(settings.seed)
        self._parts = Parts(pool, settings, prior)
        self._metrics: dict[str, float] = {}
        self._repeated = 0
        self._late = 0

    def __len__(self) -> int:
        return len(self.pool)

    @property
    def settings(self) -> dict[str, Any]:
        """Every resolved setting, presets included; λ, ρ and p* have their current values."""
        return {
            **self._settings.as_dict(),
            "prior": self._parts.beliefs.prior.describe(),
            "p_star": self.p_star,
            "lam": self.lam,
            "rho": self.rho,
        }

    @property
    def allocator(self) -> Allocator:
        """Group sizes of selected tasks; `allocator.more` after each round if `allocator.staged`."""
        return self._parts.allocator

    @property
    def alpha(self) -> Float64:
        """α, float64 (K,), read-only: a view that reflects every update until the pool grows. Of another belief than
        beta a copy, of the Beta with the belief's mean and variance.
        """
        return read_only(self._parts.beliefs.alpha)

    @property
    def beta(self) -> Float64:
        """β, float64 (K,), like `alpha`."""
        return read_only(self._parts.beliefs.beta)

    @property
    def step(self) -> int:
        """The latest wave whose evidence was counted; -1 before the first."""
        return self._parts.history.clock

    @property
    def evidence_mass_bound(self) -> float:
        """n/λ, the upper bound of a task's α+β-α0-β0 while every group has n rollouts; inf for λ = 0."""
        return self._settings.rollouts / self.lam if self.lam > 0 else inf

    def select(self, batch: int, step: int | None = None, exclude: npt.ArrayLike = ()) -> Rows:
        """Select the tasks of one wave: int64 (batch,), distinct, best first where the selector ranks.

        batch: B, from 1 to the number of tasks that may be selected.
        step: number of the wave, the training step in a synchronous loop; None: one after the latest selected or
            observed wave.
        exclude: rows that must not be selected, e.g. those in flight.
        Several selections with one number add up (refills); they may repeat a row unless it is excluded.
        Cool-down and retirement are lifted for this selection if they leave fewer than `batch` tasks (metric
        `readmitted`). Raises ValueError for a batch larger than the pool allows, unknown rows, or a step that lies
        more than `history` behind; SelectorError for a plug-in whose rows are unusable.
        """
        number = whole("batch", batch, 1)
        parts = self._parts
        wave = parts.history.selectable(step)
        excluded = distinct(check_rows(self.pool, exclude, "exclude"))
        if number > len(self.pool) - len(excluded):
            raise ValueError(
                f"a batch of {number} cannot be selected from a pool of {len(self.pool)} tasks "
                f"with {len(excluded)} excluded"
            )
        beliefs, shares = parts.beliefs, parts.shares
        with parts.eligibility.blocking(beliefs, parts.history, shares, wave, number, excluded) as blocked:
            chosen = []
            for domain, size, eligible in shares.requests(number, blocked):
                request = SelectionRequest(size, wave, self.p_star, domain, eligible, self._settings.rollouts)
                rows = parts.selector.select(beliefs, request, self._rng)
                chosen.append(checked_rows(self._settings.selector, rows, beliefs, request))
        selected = chosen[0] if len(chosen) == 1 else np.concatenate(chosen)
        parts.history.at(wave).select(selected)
        return selected

    def allocate(
        self, rows: npt.ArrayLike, budget: float | None = None, *, cost: Any = None, step: int | None = None
    ) -> Rows:
        """How many completions to draw of each task that `select` returned: int64 (len(rows),).

        budget: completions in all, or what they may cost; None: n for each task, which allocation `even` gives each.
        cost: (len(rows),), > 0, of one completion of each task, e.g. its expected tokens; None: all cost 1.
        step: number of the wave; None: the latest. If `allocator.staged`, this is the first round: after each round
            `allocator.more(rewards)` says how many more a group needs.
        Raises ValueError for repeated rows or a budget below the least; AllocationError for unusable group sizes.
        """
        wave = max(0, self._parts.history.next_wave() - 1) if step is None else whole("step", step, 0)
        return self.allocator.allocate(self._parts.beliefs, rows, wave, self.p_star, self._rng, budget, cost)

    def mark_selected(self, rows: npt.ArrayLike, step: int) -> None:
        """Record that these rows were selected elsewhere, as `select` records its own selections.

        step: number of the wave. While their evidence is awaited the rows get no implicit evidence of that wave, and
        cool-down applies to them. Raises ValueError for unknown rows and a step more than `history` behind.
        """
        wave = self._parts.history.selectable(step)
        self._parts.history.at(wave).select(distinct(check_rows(self.pool, rows)))

    def observe(
        self, rows: npt.ArrayLike, rewards: Sequence[npt.ArrayLike] | Float64, step: int | None = None
    ) -> int:
        """Learn from the rewards of a batch; returns how many (wave, task) pairs were new.

        rows: (B,) row numbers, in any order; groups of the same task are merged.
        rewards: (B, n) in [0, 1], or B one-dimensional groups of different sizes.
        step: number of the wave the tasks were selected in, ≥ 0. With it, late, repeated and out-of-order calls
            are exact (see Posterior): a (wave, task) pair counts once, the first time; only `dispersion` of `table`
            is averaged in order of arrival. None: the oldest wave that selected all these rows and still awaits
            them, else one after the latest observed.
        Raises ValueError, naming row and id, for rewards that are not finite or outside [0, 1], wrong shapes,
        unknown rows, and a step that lies more than `history` behind.
        """
        parts = self._parts
        merged = merge_rewards(self.pool, rows, rewards)
        wave = parts.history.observable(step, merged.rows)
        observation = replace(merged, wave=wave)
        new = parts.posterior.new(observation)
        self._repeated += len(observation) - len(new)
        self._late += len(new) if wave < parts.history.clock else 0
        if len(new) == 0:
            return 0
        self._metrics = step_metrics(new, parts.beliefs.mean(new.rows))
        if (tuned := parts.adaptor) is not None:
            tuned.observe(new, parts.predict)
            # Checked before any belief changes: a NaN would spread to all of them.
            self.lam, self.rho = share("the adaptor's lam", tuned.lam), share("the adaptor's rho", tuned.rho)
            self.p_star = target(tuned.p_star)
        if parts.evidence is not None:
            parts.evidence.observe(new)
        parts.posterior.update(new, self.lam, self.rho)
        parts.selector.observe(new)
        parts.eligibility.observed(parts.beliefs, new)
        return len(new)

    def retune(self, lam: float, rho: float, p_star: float) -> None:
        """Set p*, λ, ρ from now on; with an adaptor only p* changes. Raises ValueError for a value out of range."""
        p_star = target(p_star)
        if isinstance(self._parts.posterior, Modelled):
            if (lam, rho) != (self.lam, self.rho):
                raise ValueError(
                    f"lam is {lam} and rho {rho}, but belief {self._settings.belief!r} has neither; leave them at "
                    f"{self.lam:g} and {self.rho:g}"
                )
        elif self._parts.adaptor is None:
            self.lam, self.rho = share("lam", lam), share("rho", rho)
        else:
            self._parts.adaptor.p_star = p_star
        self.p_star = p_star

    def predict_mean(self, rows: npt.ArrayLike) -> Float64:
        """Expected success probability α/(α+β) of the given rows, float64 (len(rows),)."""
        return self._parts.beliefs.mean(check_rows(self.pool, rows))

    def predict_deviation(self, rows: npt.ArrayLike) -> Float64:
        """Standard deviation of the belief about the given rows' success probability, float64 (len(rows),)."""
        return self._parts.beliefs.deviation(check_rows(self.pool, rows))

    def last_observed(self, rows: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Latest step at which each of the given rows was observed, int32 (len(rows),); -1: never."""
        return self._parts.beliefs.last_step[check_rows(self.pool, rows)]

    def table(self) -> pa.Table:
        """The beliefs as an Arrow table on the same memory, which changes with them; copy it to keep it.
        Columns: id, alpha, beta, last_step (int32, -1: never), observations (int32), dispersion (float32).
        """
        return self._parts.beliefs.table()

    def metrics(self) -> dict[str, float]:
        """Metrics to log: the last batch's, counters, and those of evidence, selector and adaptor."""
        return {
            "step": float(self.step),
            "lam": self.lam,
            "rho": self.rho,
            "p_star": self.p_star,
            "repeated": float(self._repeated),
            "late": float(self._late),
            **self._metrics,
            **self._parts.metrics(),
        }

    def grow(self, pool: TaskPool, prior: tuple[npt.ArrayLike, npt.ArrayLike] | None = None) -> None:
        """Switch to a pool that has the same tasks in the same order, followed by new ones.

        New tasks start at the prior. prior: (α0, β0) arrays of the new rows, where the prior was given by task.
        Views of α and β returned earlier keep the old state.
        Raises ValueError, with the state unchanged, if the pool's first rows are different tasks, or if the new ones
        lack what the prior, the shares, the selector or the evidence need.
        """
        check_extends(pool, self.pool)
        self._parts.grow(pool, self._settings, prior)
        self.pool = pool

    def save(self, path: str | Path) -> None:
        """Write the whole state to one Arrow IPC file, atomically."""
        state = {
            "settings": self._settings.as_dict(),
            "current": {"lam": self.lam, "rho": self.rho, "p_star": self.p_star},
            "rng": self._rng.bit_generator.state,
            "counters": {"repeated": self._repeated, "late": self._late},
            "metrics": self._metrics,
            "parts": self._parts.state_dict(),
        }
        write_snapshot(path, self.pool, self._parts.beliefs, state)

    @classmethod
    def load(
        cls,
        path: str | Path,
        pool: TaskPool,
        prior: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    ) -> BOTS:
        """Restore what `save` wrote; the next selections are the same, bit for bit.

        pool: the pool it was saved with, or the same with more rows at the end. prior: of the new rows, as in `grow`.
        Raises SnapshotError (a ValueError) for a file that is missing, truncated, of another pool or of a newer
        version.
        """
        snapshot = read_snapshot(path, pool)
        state = snapshot.state
        self = cls.__new__(cls)
        small = snapshot.pool
        self._build(small, Settings(**state["settings"]), snapshot.prior)
        snapshot.restore(self._parts.beliefs)
        self.lam, self.rho = state["current"]["lam"], state["current"]["rho"]
        self.p_star = state["current"]["p_star"]
        self._rng.bit_generator.state = state["rng"]
        self._repeated, self._late = state["counters"]["repeated"], state["counters"]["late"]
        self._metrics = state["metrics"]
        self._parts.load_state_dict(state["parts"])
        if len(pool) > len(small):
            self.grow(pool, prior)
        return self
