"""The coordinator: the whole way from selection to graded groups, off the learner's critical path.

    select → generate → grade → ready;  a step takes B ready groups, observes them, and selects the next wave

The learner asks it for batches and hands it new weights; engines and graders may come, die and come back
meanwhile, and a learner that dies does not touch them. Which groups make up a step's batch, and how far
generation may run ahead, is the ledger's rule (`bots.rollouts.ledger`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import ray

from actors.chores import Chores
from actors.engine_pool import MOST_LOSSES as MOST_LOSSES
from actors.engine_pool import EnginePool
from actors.evaluation import Evaluation, EvaluationError
from actors.fatal import FatalError
from actors.grader_pool import GraderPool, GradingError, items_of
from actors.partners import Partners
from actors.pooled_engine import Weights
from actors.posterior import together
from actors.weights.channel import Channel
from bots.allocation import EVEN
from bots.allocation.allocator import Allocator
from bots.belief.rewards import as_batch
from bots.config.train import TrainConfig
from bots.rollouts.encoded_pool import EncodedPool
from bots.rollouts.ledger import EMPTY, Key, Ledger
from bots.rollouts.request import Request, RequestKey, Sampling, request_seed
from bots.rollouts.rollout import Group, Rollout, batch_figures, joined, rollout_table
from bots.selection import DynamicFilter
from bots.support.arrays import Rows

TRAIN = "train"


# Restarted after a crash, it knows nothing: the learner's next call fails, and its group comes back with it from
# the newest checkpoint.
@ray.remote(num_cpus=0, max_restarts=-1)
class Coordinator:
    """Owns selection, generation, grading and observation of a run. One per run, on the driver's node.

    folder: the run's folder, for `ledger.jsonl`.
    """

    def __init__(self, config: TrainConfig, folder: str) -> None:
        self.config = config
        rollout = config.rollout
        self.wave_tasks = most = config.selection.tasks
        if dynamic := config.selection.dynamic:
            self.wave_tasks = ceil(dynamic.oversample * config.selection.tasks)
            most = self.wave_tasks * dynamic.rounds
        self.ledger = Ledger(most, rollout.max_staleness, Path(folder) / "ledger.jsonl")
        self._sampling = Sampling(rollout.samples, rollout.max_tokens, rollout.temperature, rollout.top_p)
        self._started = self._stopping = False
        self._engines_driven = 0

    @ray.method(max_task_retries=-1)
    async def restore(
        self,
        checkpoint: tuple[bytes, dict[int, list[int]], dict[str, Any]] | None,
        partners: Partners,
        train: EncodedPool,
        evaluation: EncodedPool | None,
    ) -> None:
        """Begin, or begin again, from what `checkpoint` gave; None: from nothing. Ends what was under way.

        partners, and train and evaluation, the pools with encoded prompts, are taken at the first call. (As arguments
        of the constructor Ray would warn of them at every start, rightly: it can't know that the driver holds them.)
        The posterior goes back too, and from here: nothing that was under way can reach it afterwards.
        """
        if not self._started:
            self.train, self.evaluation = train, evaluation
            self._sampling = replace(self._sampling, stop_ids=train.stop_ids)
            selection, n = self.config.selection, self._sampling.samples
            self._allocator = Allocator(selection.allocation, train.pool, selection.allocation_options, n)
            self._start(partners)
        self.chores.abandon()
        self.engines.clear()
        self.graders.clear()
        self._groups: dict[Key, Group] = {}
        self._rounds: dict[Key, Group] = {}
        self._ungraded: list[Group] = []
        self._evaluation: Evaluation | None = None
        self._observed: asyncio.Task[dict[str, float]] | None = None
        self._keeping: list[Any] = []
        self._version = -1
        self._select_seconds = 0.0
        await self.broker.forget.remote()
        if checkpoint is None:
            await self.posterior.reset.remote()
        else:
            await self.posterior.restore.remote(*checkpoint[:2])
        self.ledger.restore(EMPTY if checkpoint is None else checkpoint[2])
        self._gated = self.ledger.at("waiting")
        self._selecting = asyncio.Lock()
        self.chores.forgive()
        self.graders.tell_if_none()
        self.chores.begin(self._select())

    def pid(self) -> int:
        """Process id of the coordinator."""
        return os.getpid()

    def drives(self) -> int:
        """How many engines it drives or waits for; 0 before a learner group has come."""
        return self._engines_driven

    def stop(self) -> None:
        """Have the learner group stop after the step that it is in, with a checkpoint."""
        self._stopping = True

    def stopping(self) -> bool:
        """Whether the run is to stop."""
        return self._stopping

    def fatal(self) -> FatalError | None:
        """What the run is to end with, if it is."""
        failure = self.chores.failure if self._started else None
        return failure if isinstance(failure, FatalError) else None

    def add_engines(self, engines: Sequence[tuple[str, Any]]) -> None:
        """Take more engines into the run; each is used as soon as it is up."""
        if self._started:
            self._engines_driven += len(engines)
            self.engines.add(engines)

    async def invite(self, version: int, channel: Channel) -> int:
        """Engines that are up join a broadcast of the policy version to come; returns how many they are."""
        return self.engines.invite(version, channel)

    async def new_weights(self, version: int, checksum: str) -> None:
        """A policy version lies with the broker: engines load it between two of their steps.

        checksum: the learner's; an engine that finds another one is taken for lost.
        """
        published, buckets = await self.broker.references.remote()
        if published != version:
            raise RuntimeError(f"the weight broker holds policy version {published}, not {version}")
        self._version = version
        self.engines.set_weights(Weights(version, buckets, checksum))
        self._open_gate()

    async def next_batch(self, step: int) -> tuple[list[Group], dict[str, float], dict[str, float]]:
        """A step's graded groups, in the order of their selection; figures; seconds waited, by what for.

        Raises RuntimeError if no group can be graded, EngineError or NoGraderError if no engine or grader is left.
        """
        self.chores.raise_failure()
        if step != self.ledger.step + 1:
            raise RuntimeError(f"step {step} was asked for, but the step after {self.ledger.step} is due")
        waited: dict[str, float] = {}
        trained = due = await self._due(waited)
        if self.config.selection.dynamic:
            trained = await self._with_signal(waited)
            due = self.ledger.due() or due
        if not due:
            raise RuntimeError(f"no group of step {step} could be graded: {self.ledger.dropped[0]}")
        figures = self._figures()
        figures["dropped_groups"] = len(self.ledger.dropped)
        self.ledger.train(trained)
        left_out = sorted(set(due) - set(trained))
        self.ledger.leave_out(left_out, "dynamic sampling: no signal, or beyond a full batch")
        figures["left_out_groups"] = len(left_out)
        taught = [self._groups[key] for key in trained]
        groups = [self._groups.pop(key) for key in due]
        versions = np.array([r.version for group in groups for r in group.rollouts])
        figures |= batch_figures(groups) | {
            "staleness": int(step - 1 - versions.min()),
            "staleness_mean": float(step - 1 - versions.mean()),
            "select_seconds": self._select_seconds,
            "select_wait_seconds": waited.get("select", 0.0),
        }
        if self.config.run.keep_rollouts:
            kept = groups + self._ungraded
            ids = self.train.pool.ids([group.row for group in kept])
            self._keeping.append(self.journal.keep.remote(step, rollout_table(step, ids, kept)))
        self._ungraded = []
        # The beliefs need the rewards, not the new weights: the next tasks are drawn while this batch trains.
        self._observed = self.chores.begin(self._observe(due, groups))
        self.chores.begin(self._select(after=self._observed))
        return taught, figures, waited

    async def _due(self, waited: dict[str, float]) -> list[Key]:
        """The next batch once it is there; adds what was waited for, in seconds."""
        while (due := self.ledger.due()) is None:
            started, blocked_by = time.perf_counter(), self._blocked_by()
            await self.chores.news()
            waited[blocked_by] = waited.get(blocked_by, 0.0) + time.perf_counter() - started
        return due

    async def _with_signal(self, waited: dict[str, float]) -> list[Key]:
        """Dynamic sampling: the groups to train on, further tasks being selected while there are too few.

        Where not one group has signal it is all of them: a batch without signal, as without the filter.
        """
        settings = self.config.selection.dynamic
        chosen = DynamicFilter(
            self.config.selection.tasks, settings.oversample, settings.least_deviation, settings.rounds
        )
        kept: list[Key] = []
        looked_at: set[Key] = set()
        while True:
            due = await self._due(waited)
            new = [key for key in due if key not in looked_at]
            if not new:
                return kept or due
            looked_at |= set(new)
            rows = np.array([row for _, row in new], np.int64)
            keep = chosen.add(rows, [self._groups[key].rewards for key in new])
            kept += [key for key, good in zip(new, keep, strict=True) if good]
            used = [*chosen.seen.tolist(), *self.ledger.dropped_rows]
            wanted = min(chosen.wanted(), len(self.train.pool) - len(used))
            if not wanted:
                return kept or due
            started = time.perf_counter()
            await self._refill(wanted, used, chosen.round)
            waited["select"] = waited.get("select", 0.0) + time.perf_counter() - started

    async def _refill(self, wanted: int, used: list[int], number: int) -> None:
        wave = self.ledger.wave
        rows, seconds = await self.posterior.select.remote(wave, wanted, used, number)
        self._select_seconds += seconds
        self.ledger.refill(rows, await self._allocated(wave, number))
        self._gated += [(wave, int(row)) for row in rows]
        self._open_gate()

    async def observed(self) -> dict[str, float]:
        """What the posterior made of the last batch: the figures of `BOTS.metrics`."""
        return await asyncio.shield(self._observed) if self._observed is not None else {}

    async def evaluate(self, step: int) -> dict[str, float]:
        """Mean reward of the newest policy, that of `step`, on the held-out tasks, in all and by domain.

        Raises EvaluationError if a task cannot be answered.
        """
        if self.evaluation is None:
            return {}
        self._evaluation = evaluation = Evaluation(self.evaluation, self.config)
        self.engines.submit(evaluation.requests(), first=True)
        while not evaluation.done:
            await self.chores.news()
        if self.config.run.keep_rollouts:
            self._keeping.append(self.journal.keep.remote(step, evaluation.table(step), "evaluation"))
        return evaluation.scores()

    async def checkpoint(self) -> tuple[bytes, dict[int, list[int]], dict[str, Any]]:
        """The posterior's snapshot, the selections it keeps, and the ledger, all as after the last batch.

        The ledger's file and the rollouts are on disk when it returns: a checkpoint must not run ahead of them.
        """
        while self.chores.under_way("_observe", "_select"):
            await self.chores.news()
        await self.kept()
        self.ledger.sync()
        snapshot, selected = await self.posterior.snapshot.remote()
        return snapshot, selected, self.ledger.state()

    async def kept(self) -> None:
        """Wait until all rollouts so far are on disk. Raises OSError if they can't be written."""
        keeping, self._keeping = self._keeping, []
        for writing in keeping:
            await writing

    # Selection

    async def _select(self, after: asyncio.Task[Any] | None = None) -> None:
        """Draw every wave that may be drawn."""
        if after is not None:
            await after
        async with self._selecting:
            while self.ledger.wants_wave:
                wave = self.ledger.wave + 1
                tasks = min(self.wave_tasks, len(self.train.pool))
                call = self.posterior.select.remote(wave, tasks, self.ledger.rows)
                rows, self._select_seconds = await call
                self.ledger.select(wave, rows, await self._allocated(wave))
                self._gated += [(wave, int(row)) for row in rows]
                self._open_gate()

    async def _allocated(self, wave: int, refill: int = 0) -> Rows | None:
        """Completions of each task that was just selected; None: n for all."""
        if self.config.selection.allocation == EVEN:
            return None
        return await self.posterior.rollouts.remote(wave, refill)

    async def _observe(self, keys: Sequence[Key], groups: Sequence[Group]) -> dict[str, float]:
        """Tell the posterior what a batch showed, wave by wave."""
        figures: dict[str, float] = {}
        for wave in sorted({wave for wave, _ in keys}):
            of_wave = [group for (w, _), group in zip(keys, groups, strict=True) if w == wave]
            rows = np.array([group.row for group in of_wave], np.int64)
            rewards = as_batch([group.rewards for group in of_wave])
            figures = together(figures, await self.posterior.observe.remote(wave, rows, rewards))
        return figures

    # Generation

    def _open_gate(self) -> None:
        """Hand the engines what the newest policy version allows."""
        able = [key for key in self._gated if self.ledger.may_begin(key, self._version)]
        self._gated = self._gated[len(able) :]
        self.engines.submit(self._request(*key) for key in able)

    def _request(self, wave: int, row: int, samples: int | None = None, held: int = 0) -> Request:
        """A task's request. samples: completions; None: those of its first round. held: those it has already."""
        seed = request_seed(self.config.run.seed, wave, row) + held if self.config.rollout.seeded else None
        samples = samples or self.ledger.rollouts((wave, row)) or self._sampling.samples
        return Request(
            (TRAIN, wave, row), self.train.prompts[row], replace(self._sampling, samples=samples), seed
        )

    def _begun(self, key: RequestKey, version: int) -> None:
        purpose, wave, row = key
        if purpose == TRAIN:
            self.ledger.generate((wave, row), version)

    def _answered(self, key: RequestKey, rollouts: list[Rollout]) -> None:
        purpose, wave, row = key
        pool = self.train if purpose == TRAIN else self.evaluation
        group = Group(row, pool.prompts[row], rollouts, wave=wave)
        if purpose == TRAIN:
            self.ledger.answered((wave, row), min(rollout.version for rollout in rollouts))
        self.chores.begin(self._grade(key, group, pool))

    def _lost_engine(self, name: str, reason: str, requests: Sequence[Request]) -> None:
        tasks = [request.key[1:] for request in requests if request.key[0] == TRAIN]
        self.ledger.note_loss(name, reason, tasks)
        for request in requests:
            self._returned(request.key)

    def _returned(self, key: RequestKey) -> None:
        purpose, wave, row = key
        if purpose == TRAIN:
            self.ledger.again((wave, row))

    def _give_up(self, key: RequestKey, reason: str) -> None:
        purpose, wave, row = key
        if purpose == TRAIN:
            self._drop((wave, row), reason)
        else:
            (task,) = self.evaluation.pool.ids(np.array([row], np.int64))
            self.chores.fail(EvaluationError(f"evaluation task {task} cannot be answered: {reason}"))

    # Grading

    async def _grade(self, key: RequestKey, group: Group, pool: EncodedPool) -> None:
        try:
            results = await self.graders.grade(items_of(group, pool))
            group.rewards = np.array([np.nan if r.reward is None else r.reward for r in results])
            group.reasons = [r.reason for r in results]
        except GradingError as error:
            group.rewards = np.full(len(group.rollouts), np.nan)
            group.reasons = [str(error)] * len(group.rollouts)
        purpose, wave, row = key
        if purpose != TRAIN:
            self._evaluation.add(row, group)
            self.chores.tell()
            return
        group = joined(self._rounds.pop((wave, row), None), group)
        if group.graded and (more := self._allocator.more(group.rewards)):
            self._rounds[wave, row] = group
            self.ledger.another_round((wave, row))
            request = self._request(wave, row, more, held=len(group.rollouts))
            # Before tasks that have not begun: its batch waits for it.
            self.engines.submit([request], first=True)
        elif group.graded:
            self.ledger.graded((wave, row))
            self._groups[wave, row] = group
        else:
            # A partial group would bias its advantage, so one that could not be graded is dropped whole.
            hole = int(np.flatnonzero(np.isnan(group.rewards))[0])
            self._ungraded.append(group)
            self._drop((wave, row), group.reasons[hole])
        self.chores.tell()

    def _drop(self, key: Key, reason: str) -> None:
        self._rounds.pop(key, None)
        self.ledger.drop(key, reason)
        self.chores.tell()

    # The start, and figures

    def _start(self, partners: Partners) -> None:
        self._started = True
        self.posterior, self.broker, self.journal = partners.posterior, partners.broker, partners.journal
        self.chores = Chores()
        self._last_figures: tuple[float, dict[str, float]] = (time.monotonic(), {})
        self.engines = EnginePool(
            self.config.rollout,
            self._begun,
            self._answered,
            self._give_up,
            self._lost_engine,
            self.ledger.note_joined,
            self.chores.fail,
            self._returned,
        )
        self.graders = GraderPool(
            self.config.grading,
            lambda name, reason, jobs: self.ledger.note_loss(name, reason, []),
            self.chores.fail,
        )
        self._engines_driven = len(partners.engines)
        self.engines.add(partners.engines)
        self.graders.add(partners.graders)

    def _blocked_by(self) -> str:
        if not len(self.ledger):
            return "select"
        return "generate" if self.ledger.blocked_by() == "generating" else "grade"

    def _figures(self) -> dict[str, Any]:
        """Engines and queues since the last batch."""
        now, busy = time.monotonic(), self.engines.busy_seconds
        since, busy_before = self._last_figures
        self._last_figures = now, busy
        shares = {
            name: (seconds - busy_before[name]) / (now - since)
            for name, seconds in busy.items()
            if name in busy_before
        }
        counts = self.ledger.counts()
        figures: dict[str, Any] = {
            "engines": self.engines.up,
            "engine_busy_share": sum(shares.values()) / max(1, len(shares)),
            "engine_losses": self.engines.losses,
            "grader_losses": self.graders.losses,
            "weights_load_seconds": self.engines.load_seconds,
            **{f"queue/{place}": float(count) for place, count in counts.items()},
        }
        if shares:
            idlest, busiest = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
            figures |= {
                "engine_busy_share_min": shares[idlest],
                "engine_busy_share_max": shares[busiest],
                "engine_least_busy": idlest,
                "engine_most_busy": busiest,
            }
        return figures
