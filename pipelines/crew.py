"""The crew: handles of a run's actors, and the calls on them that a step is made of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from actors.weight_format import Bucket, Checksum
from bots.config import TrainConfig
from bots.graders.groups import grade_with_retries
from bots.graders.worker import Item
from bots.graders.workers import Result
from bots.learning.rollouts import Group, rollout_table
from bots.templates import prompt_text
from pipelines.prompts import EncodedPool

Rows = npt.NDArray[np.int64]


class ActorTimeout(TimeoutError):
    """An actor that did not answer in time, by name."""


@dataclass(frozen=True)
class Crew:
    """Handles of the actors, made and owned by the driver, so that they outlive the learner group."""

    engines: list[Any]
    graders: list[Any]
    posterior: Any
    broker: Any
    journal: Any


class Conductor:
    """What rank 0 does with the crew: select, generate, grade, observe, hand over weights.

    train, evaluation: pools with encoded prompts; evaluation may be None.
    """

    def __init__(
        self, crew: Crew, config: TrainConfig, train: EncodedPool, evaluation: EncodedPool | None
    ) -> None:
        self.crew = crew
        self.config = config
        self.train = train
        self.evaluation = evaluation
        self._selection: Any = None

    def prefetch_selection(self, step: int) -> None:
        """Ask for a step's tasks without waiting; the beliefs are already those that it will use."""
        self._selection = self.crew.posterior.select.remote(step, self.config.selection.tasks)

    def selection(self) -> tuple[Rows, float, float]:
        """The prefetched rows, the seconds they took to choose, and the seconds waited for here."""
        started = time.perf_counter()
        rows, seconds = self._get([self._selection], ["posterior"])[0]
        return rows, seconds, time.perf_counter() - started

    def rollouts(self, step: int, rows: Rows) -> tuple[list[Group], list[float]]:
        """n answers for each task of a step; also the busy seconds of each engine."""
        rollout = self.config.rollout
        return self._generate(self.train, rows, rollout.samples, rollout.temperature, step)

    def grade(self, groups: Sequence[Group], pool: EncodedPool) -> None:
        """Score every answer. What a grader could not score is tried once more, then left as NaN."""
        tasks = pool.pool.take(np.array([g.row for g in groups], np.int64), ["grader", "prompt", "answer"])
        items = [
            (task["grader"], prompt_text(task["prompt"]), task["answer"], rollout.text)
            for task, group in zip(tasks, groups, strict=True)
            for rollout in group.rollouts
        ]
        results = iter(grade_with_retries(self._grade, items))
        for group in groups:
            graded = [next(results) for _ in group.rollouts]
            group.rewards = np.array([np.nan if r.reward is None else r.reward for r in graded])
            group.reasons = [r.reason for r in graded]

    def keep_rollouts(self, step: int, groups: Sequence[Group]) -> None:
        """Have a step's answers written down; nobody waits for it."""
        ids = self.train.pool.ids([group.row for group in groups])
        self.crew.journal.keep.remote(step, rollout_table(step, ids, groups))

    def observe(self, step: int, groups: Sequence[Group]) -> Any:
        """Tell the posterior what a step's graded groups showed; returns the reference of its answer."""
        rows = np.array([group.row for group in groups], np.int64)
        return self.crew.posterior.observe.remote(step, rows, np.stack([g.rewards for g in groups]))

    def evaluate(self) -> dict[str, float]:
        """Mean reward on the held-out tasks, in all and by domain."""
        if self.evaluation is None:
            return {}
        pool, settings = self.evaluation, self.config.evaluation
        # The same seeds at every evaluation: what differs between two scores is the policy alone.
        rows = np.arange(len(pool.pool))
        groups, _ = self._generate(pool, rows, settings.samples, settings.temperature, step=0)
        self.grade(groups, pool)
        means = np.array([np.nanmean(g.rewards) if not np.isnan(g.rewards).all() else np.nan for g in groups])
        ungraded = int(np.isnan(means).sum())
        scores = {"score": float(np.nanmean(means)), "evaluation_ungraded": float(ungraded)}
        for code, domain in enumerate(pool.pool.domains):
            scores[f"score/{domain}"] = float(np.nanmean(means[pool.pool.domain_codes == code]))
        return scores

    def publish(self, version: int, bucket: Bucket, checksum: Checksum) -> Any:
        """Give one bucket of new weights to the broker."""
        checksum.add(bucket)
        return self.crew.broker.publish.remote(version, bucket)

    def load_weights(self, version: int, checksum: str) -> float:
        """Have every engine load the published version; the seconds it took.

        Raises RuntimeError if an engine's checksum differs from the learner's.
        """
        started = time.perf_counter()
        published, buckets = self._get([self.crew.broker.references.remote()], ["weight broker"])[0]
        if published != version:
            raise RuntimeError(f"the weight broker holds policy version {published}, not {version}")
        calls = [engine.load.remote(buckets, version) for engine in self.crew.engines]
        for name, loaded, _ in self._get(calls, self._engine_names()):
            if loaded != checksum:
                raise RuntimeError(
                    f"{name} loaded weights with checksum {loaded} for policy version {version}; "
                    f"the learner sent {checksum}"
                )
        return time.perf_counter() - started

    def _generate(
        self, pool: EncodedPool, rows: Rows, samples: int, temperature: float, step: int
    ) -> tuple[list[Group], list[float]]:
        engines = self.crew.engines
        # Dealt in turns by prompt length: engines get like work.
        order = np.argsort([len(pool.prompts[row]) for row in rows], kind="stable")
        parts = [order[i :: len(engines)] for i in range(len(engines))]
        calls = []
        for engine, part in zip(engines, parts, strict=True):
            prompts = [pool.prompts[row] for row in rows[part]]
            seeds = None
            if self.config.rollout.seeded:
                seeds = [request_seed(self.config.run.seed, step, int(row)) for row in rows[part]]
            calls.append(engine.generate.remote(prompts, samples, temperature, seeds))
        groups: list[Group | None] = [None] * len(rows)
        busy = []
        for part, (answers, seconds) in zip(parts, self._get(calls, self._engine_names()), strict=True):
            busy.append(seconds)
            for place, rollouts in zip(part, answers, strict=True):
                row = int(rows[place])
                groups[place] = Group(row, pool.prompts[row], rollouts)
        return [group for group in groups if group is not None], busy

    def _grade(self, items: Sequence[Item]) -> list[Result]:
        graders = self.crew.graders
        parts = [slice(k, None, len(graders)) for k in range(len(graders))]
        calls = [g.grade.remote(list(items[part])) for g, part in zip(graders, parts, strict=True)]
        names = [f"grader-{k}" for k in range(len(graders))]
        results: list[Any] = [None] * len(items)
        for part, graded in zip(parts, self._get(calls, names), strict=True):
            results[part] = graded
        return results

    def _engine_names(self) -> list[str]:
        return [f"rollout-{i}" for i in range(len(self.crew.engines))]

    def _get(self, calls: list[Any], names: list[str]) -> list[Any]:
        timeout = self.config.rollout.timeout_s
        _, waiting = ray.wait(calls, num_returns=len(calls), timeout=timeout)
        if waiting:
            late = [name for name, call in zip(names, calls, strict=True) if call in waiting]
            raise ActorTimeout(
                f"no answer from {', '.join(late)} within rollout.timeout_s = {timeout:g} s; "
                "the actor hangs, or the limit is too low for rollout.max_tokens"
            )
        return ray.get(calls)


def request_seed(run_seed: int, step: int, row: int) -> int:
    """Seed of a request, a function of run, step and task alone.

    vLLM gives the i-th answer of a request the seed plus i; requests are spread far apart.
    """
    state = np.random.SeedSequence((run_seed, step, row)).generate_state(1)[0]
    return int(state % (2**31 - 2**16))
