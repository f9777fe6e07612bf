"""Estimates the learning law and the world of the simulator from real runs, by maximum marginal likelihood.

The law is driven by the real policy's batches: their sampled variances give the ability at every step, and the
ability gives the probability of every reward. With tasks in cells c (a level of a domain), each of one difficulty
d_c, the ability at a cell before step t is linear in the batches so far,

    θ_t = rate · Σ_{s<t} (1 − forgetting)^(t−1−s) · h_s · V_s M,

where V_s (cells,) is the batch's mean variance by cell, h_s the warm-up and M the kernel of `Law`. The differences
between the tasks of a cell are integrated over, with Gauss–Hermite nodes: u, shared by policy and anchors, and each
model's own ε. All rewards of a task share its u and ε, so a task that is selected again because it was half solved
before is no evidence of learning (selection depends on past rewards only and is ignorable, Rubin 1976).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from bots.simulation.learner import Law
from bots.simulation.world import WorldSpec
from bots.support.arrays import Float64

Ints = npt.NDArray[np.int64]
NODES = 7
SPREAD = 5.0
"""Standard deviation, in logits, of the weak prior of difficulties and abilities: it only bounds cells that no
model ever passes, or always."""


@dataclass(frozen=True)
class FittedTasks:
    """The pool. cell: int64 (K,). domain_of_cell: int64 (C,). weak, strong: float64 (K,), NaN: not measured.

    domains: names. anchor_samples: completions behind each anchor pass rate.
    """

    domains: Sequence[str]
    domain_of_cell: Ints
    cell: Ints
    weak: Float64
    strong: Float64
    anchor_samples: int


@dataclass(frozen=True)
class RewardHistory:
    """The rewards one run was trained on, a row for each group. step: int64 (G,), from 0. task: int64 (G,).

    rewards: float64 (G, n), all graded. warmup: steps over which the learning rate rose.
    """

    step: Ints
    task: Ints
    rewards: Float64
    warmup: int


@dataclass(frozen=True)
class Fit:
    """The estimate. log_likelihood: of all rewards and anchors, nats; groups: how many the policy had."""

    law: Law
    world: WorldSpec
    log_likelihood: float
    groups: int


def fit(tasks: FittedTasks, runs: Sequence[RewardHistory], iterations: int = 150) -> Fit:
    """Estimate from runs on one pool that started from one policy.

    Raises ValueError for no groups, or groups of fewer than two rewards.
    """
    if not runs or min((len(run.step) for run in runs), default=0) == 0:
        raise ValueError("there is nothing to fit: no group of rewards was given")
    if min(run.rewards.shape[1] for run in runs) < 2:
        raise ValueError("a group of one reward has no variance to learn from; the fit needs n ≥ 2")
    parameters, likelihood = _Parameters(tasks), _Likelihood(tasks, runs)
    threads = torch.get_num_threads()
    # On such small tensors threads mostly wait for each other: 20 times slower on a busy machine.
    torch.set_num_threads(1)
    try:
        found = _maximise(parameters, likelihood, iterations)
    finally:
        torch.set_num_threads(threads)
    groups = sum(len(run.step) for run in runs)
    return Fit(parameters.law(runs[0].warmup), parameters.world(tasks), found, groups)


def _maximise(parameters: _Parameters, likelihood: _Likelihood, iterations: int) -> float:
    search = torch.optim.LBFGS(parameters.free, lr=0.5, max_iter=iterations, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = -(likelihood(parameters) + parameters.log_prior())
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return float(likelihood(parameters))


class _Parameters:
    """Free parameters on unbounded scales, and the law and world they stand for."""

    def __init__(self, tasks: FittedTasks) -> None:
        known = torch.tensor(np.nanmean([tasks.weak, tasks.strong], axis=0))
        cells = len(tasks.domain_of_cell)
        start = torch.zeros(cells, dtype=torch.float64)
        for cell in range(cells):
            rates = known[torch.tensor(tasks.cell == cell)]
            rates = rates[~torch.isnan(rates)]
            rate = 0.5 if len(rates) == 0 else float(rates.mean().clamp(0.01, 0.99))
            start[cell] = math.log((1 - rate) / rate)
        domains = len(tasks.domains)
        self.difficulty = start.requires_grad_()
        self.anchors = torch.tensor([[-0.5] * domains, [0.5] * domains], dtype=torch.float64).requires_grad_()
        # shared, residual, anchor residual, rate, transfer, own
        sizes = torch.tensor([0.5, 0.7, 0.7, 0.3, 1.5, 0.3], dtype=torch.float64)
        self.sizes = torch.log(torch.expm1(sizes)).requires_grad_()
        # forgetting, own forgetting
        self.shares = torch.logit(torch.tensor([0.005, 0.02], dtype=torch.float64)).requires_grad_()
        self.across = torch.zeros(1, dtype=torch.float64).requires_grad_()
        self.free = [self.difficulty, self.anchors, self.sizes, self.shares, self.across]

    def log_prior(self) -> Tensor:
        spread = (self.difficulty**2).sum() + (self.anchors**2).sum()
        # The likelihood is flat for a transfer beyond all difficulties and for no forgetting: this bounds the search.
        loose = (self.sizes**2).sum() / 100 + ((self.shares + 5) ** 2).sum() / 8 + self.across.square().sum()
        return -spread / (2 * SPREAD**2) - loose

    def law(self, warmup: int) -> Law:
        _, residual, _, rate, transfer, own = softplus(self.sizes).tolist()
        forgetting, own_forgetting = torch.sigmoid(self.shares).tolist()
        return Law(
            rate=rate,
            transfer=transfer,
            across=math.tanh(self.across.item()),
            own=own,
            forgetting=forgetting,
            own_forgetting=own_forgetting,
            warmup=warmup,
            residual=residual,
        )

    def world(self, tasks: FittedTasks) -> WorldSpec:
        shared, _, anchor = softplus(self.sizes[:3]).tolist()
        weak, strong = (dict(zip(tasks.domains, row, strict=True)) for row in self.anchors.tolist())
        levels: Mapping[str, Sequence[float]] = {
            name: [float(d) for d in self.difficulty.detach()[torch.tensor(tasks.domain_of_cell == code)]]
            for code, name in enumerate(tasks.domains)
        }
        code_of = tasks.domain_of_cell[tasks.cell]
        return WorldSpec(
            tasks=len(tasks.cell),
            domains={name: float(np.mean(code_of == code)) for code, name in enumerate(tasks.domains)},
            difficulty_sd=shared,
            levels=levels,
            discrimination_sd=0.0,
            weak=weak,
            strong=strong,
            anchor_residual=anchor,
            anchor_samples=tasks.anchor_samples,
            missing=float(np.mean(np.isnan(tasks.weak))),
        )


class _Likelihood:
    """log p(all rewards, all anchors | parameters), up to the binomial coefficients."""

    def __init__(self, tasks: FittedTasks, runs: Sequence[RewardHistory]) -> None:
        self.tasks, self.count = tasks, len(tasks.cell)
        self.cell = torch.tensor(tasks.cell)
        domain = torch.tensor(tasks.domain_of_cell)
        self.same = (domain[:, None] == domain[None, :]).double()
        self.domain = domain
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        self.nodes = torch.tensor(nodes)
        self.log_weights = torch.log(torch.tensor(weights / weights.sum()))
        self.runs = [_Run(run, tasks.cell, len(tasks.domain_of_cell)) for run in runs]
        known = [torch.tensor(~np.isnan(rate)) for rate in (tasks.weak, tasks.strong)]
        self.anchors = [
            (torch.tensor(np.nan_to_num(rate)) * tasks.anchor_samples, seen.double() * tasks.anchor_samples)
            for rate, seen in zip((tasks.weak, tasks.strong), known, strict=True)
        ]

    def __call__(self, p: _Parameters) -> Tensor:
        shared, residual, anchor, rate, transfer, own = softplus(p.sizes)
        kernel = torch.exp(-0.5 * ((p.difficulty[:, None] - p.difficulty[None, :]) / transfer) ** 2)
        kernel = kernel * (self.same + torch.tanh(p.across) * (1 - self.same))
        forgetting, own_forgetting = torch.sigmoid(p.shares)
        offsets = shared * self.nodes
        policy = torch.zeros(self.count, NODES, NODES, dtype=torch.float64)
        for run in self.runs:
            ability = rate * run.filtered(forgetting) @ kernel
            gained = own * run.own_gain(own_forgetting)
            logit = ability[run.step, run.cell] - p.difficulty[run.cell] + gained
            z = logit[:, None, None] + offsets[None, :, None] + residual * self.nodes[None, None, :]
            policy = policy.index_add(0, run.task, _bernoulli(z, run.successes, run.rollouts))
        total = torch.logsumexp(policy + self.log_weights, dim=2)
        for (successes, samples), ability in zip(self.anchors, p.anchors, strict=True):
            logit = (ability[self.domain] - p.difficulty)[self.cell]
            z = logit[:, None, None] + offsets[None, :, None] + anchor * self.nodes[None, None, :]
            total = total + torch.logsumexp(_bernoulli(z, successes, samples) + self.log_weights, dim=2)
        return torch.logsumexp(total + self.log_weights, dim=1).sum()


class _Run:
    """One run as tensors, with everything that does not depend on the parameters computed once."""

    def __init__(self, run: RewardHistory, cell_of: Ints, cells: int) -> None:
        steps = int(run.step.max()) + 1
        cell = cell_of[run.task]
        heat = np.minimum(1, (np.arange(steps) + 1) / run.warmup) if run.warmup else np.ones(steps)
        signal = heat[run.step] * run.rewards.var(axis=1, ddof=1)
        batch = np.zeros((steps, cells))
        np.add.at(batch, (run.step, cell), signal)
        sizes = np.bincount(run.step, minlength=steps)
        self.batch = torch.tensor(batch / np.maximum(sizes, 1)[:, None])
        lag = np.arange(steps)[:, None] - np.arange(steps)[None, :] - 1
        self.earlier, self.lag = torch.tensor(lag >= 0), torch.tensor(np.maximum(lag, 0))
        self.step, self.task = torch.tensor(run.step), torch.tensor(run.task)
        self.cell = torch.tensor(cell)
        self.successes = torch.tensor(run.rewards.sum(axis=1))
        self.rollouts = torch.full_like(self.successes, run.rewards.shape[1])
        pairs = [
            (later, earlier)
            for rows in _rows_of_tasks(run.task)
            for later in rows
            for earlier in rows
            if run.step[earlier] < run.step[later]
        ]
        self.pairs = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
        self.signal = torch.tensor(signal)

    def filtered(self, forgetting: Tensor) -> Tensor:
        """Variances by cell that remain before each step, after forgetting, (S, C)."""
        remembered: Tensor = torch.where(self.earlier, (1 - forgetting) ** self.lag, 0.0) @ self.batch
        return remembered

    def own_gain(self, own_forgetting: Tensor) -> Tensor:
        """What each group's task had gained from its own earlier groups, in units of `own`, (G,)."""
        later, earlier = self.pairs.unbind(1)
        faded = (1 - own_forgetting) ** (self.step[later] - self.step[earlier]) * self.signal[earlier]
        return torch.zeros_like(self.signal).index_add(0, later, faded)


def _rows_of_tasks(task: Ints) -> list[Ints]:
    order = np.argsort(task, kind="stable")
    return [rows for rows in np.split(order, np.flatnonzero(np.diff(task[order])) + 1) if len(rows) > 1]


def _bernoulli(z: Tensor, successes: Tensor, trials: Tensor) -> Tensor:
    """Log-likelihood of (R,) counts at logits (R, U, E); fractional counts are quasi-likelihood."""
    s, n = successes[:, None, None], trials[:, None, None]
    return s * logsigmoid(z) + (n - s) * logsigmoid(-z)
