"""The coordinator: everything from selection to graded groups, off the learner's critical path.

    select → generate → grade → ready;  a step takes B ready groups, observes them, and selects the next wave

The learner requests batches from it and sends it new weights. Engines and graders may join, die and restart at any
time; they do not depend on the learner. The ledger (`bots.rollouts.ledger`) decides which groups make up a step's
batch and how far ahead generation may run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray

from actors.batch_metrics import QueueMetrics, batch_metrics, staleness_metrics
from actors.batches import Batches
from actors.chores import Chores
from actors.engine_pool import EnginePool
from actors.evaluation import Evaluation, EvaluationError
from actors.fatal import FatalError
from actors.grader_pool import GraderPool, GradingError, items_of
from actors.partners import Partners
from actors.pooled_engine import Weights
from actors.waves import Waves, wave_sizes
from actors.weights.channel import BroadcastChannel
from bots.allocation.allocator import Allocator
from bots.config.train import TrainConfig
from bots.rollouts.encoded_pool import EncodedPool
from bots.rollouts.ledger import EMPTY, Key, Ledger
from bots.rollouts.request import Request, RequestKey, Sampling, request_seed
from bots.rollouts.rollout import Group, Rollout, joined, rollout_table

TRAIN = "train"


# After a crash it restarts empty. The learner's next call fails, and the learner group restarts with it from the
# newest checkpoint.
@ray.remote(num_cpus=0, max_restarts=-1)
class Coordinator:
    """Owns selection, generation, grading and observation of a run. One per run, on the driver's node.

    folder: the run's folder, for `ledger.jsonl`.
    """

    def __init__(self, config: TrainConfig, folder: str) -> None:
        self.config = config
        rollout = config.rollout
        _, most = wave_sizes(config.selection)
        self.ledger = Ledger(most, rollout.max_staleness, Path(folder) / "ledger.jsonl")
        self._sampling = Sampling(rollout.samples, rollout.max_tokens, rollout.temperature, rollout.top_p)
        self._started = self._stopping = False
        self._engines_driven = 0
        self._groups: dict[Key, Group] = {}

    @ray.method(max_task_retries=-1)
    async def restore(
        self,
        checkpoint: tuple[bytes, dict[int, list[int]], dict[str, Any]] | None,
        partners: Partners,
        train: EncodedPool,
        evaluation: EncodedPool | None,
    ) -> None:
        """Start or restart from what `checkpoint` returned, or from scratch if None. Cancels all work in progress.

        partners: actor handles. train, evaluation: the pools with encoded prompts. All three are read at the first call
        only. (As constructor arguments they would make Ray warn at every start: it can't know that the driver holds
        them.) The posterior is restored from here too, so that no earlier work in progress can reach it afterwards.
        """
        if not self._started:
            self.train, self.evaluation = train, evaluation
            self._sampling = replace(self._sampling, stop_ids=train.stop_ids)
            selection, n = self.config.selection, self._sampling.samples
            self._allocator = Allocator(selection.allocation, train.pool, selection.allocation_options, n)
            self._start(partners)
        self.chores.abandon("the run went back to a checkpoint")
        self.engines.clear()
        self.graders.clear()
        self._groups.clear()
        self._rounds: dict[Key, Group] = {}
        self._ungraded: list[Group] = []
        self._evaluation: Evaluation | None = None
        self._observed: asyncio.Task[dict[str, float]] | None = None
        self._keeping: list[Any] = []
        self._version = -1
        await self.broker.forget.remote()
        if checkpoint is None:
            await self.posterior.reset.remote()
        else:
            await self.posterior.restore.remote(*checkpoint[:2])
        self.ledger.restore(EMPTY if checkpoint is None else checkpoint[2])
        self.waves.restart()
        self._selecting = asyncio.Lock()
        self.chores.forgive()
        self.graders.tell_if_none()
        self.chores.begin(self._select())

    def pid(self) -> int:
        """Process id of the coordinator."""
        return os.getpid()

    def drives(self) -> int:
        """Number of engines that it uses or waits for; 0 before the first learner group."""
        return self._engines_driven

    def stop(self) -> None:
        """Ask the learner group to stop after the current step, with a checkpoint."""
        self._stopping = True

    def stopping(self) -> bool:
        """Whether the run was asked to stop."""
        return self._stopping

    async def end(self) -> None:
        """End all its work, before the run's actors are killed: it starts and records nothing more."""
        if self._started:
            self.chores.abandon("the run has ended")
            self.engines.end()
            self.graders.end()

    def fatal(self) -> FatalError | None:
        """The error that must end the run, or None."""
        failure = self.chores.failure if self._started else None
        return failure if isinstance(failure, FatalError) else None

    def add_engines(self, engines: Sequence[tuple[str, Any]]) -> None:
        """Add engines to the run; each is used once it is up."""
        if self._started:
            self._engines_driven += len(engines)
            self.engines.add(engines)

    async def invite(self, version: int, channel: BroadcastChannel) -> BroadcastChannel | None:
        """Invite the engines that are up to the broadcast of the next policy version; see `EnginePool.invite`."""
        return self.engines.invite(version, channel)

    async def new_weights(self, version: int, checksum: str, stored: bool = True) -> None:
        """There is a new policy version. Each engine loads it between two engine steps.

        checksum: computed by the learner. An engine that computes a different one counts as lost. stored: whether the
        broker holds it; if not, only engines that took part in its broadcast have it until `stored` is called.
        """
        buckets = None
        if stored:
            published, buckets = await self.broker.references.remote()
            if published != version:
                raise RuntimeError(f"the weight broker holds policy version {published}, not {version}")
        self._version = version
        self.engines.set_weights(Weights(version, buckets, checksum))
        self._open_gate()

    async def stored(self, version: int) -> None:
        """The broker holds a policy version that was announced without it. Ignored if there is a newer one."""
        published, buckets = await self.broker.references.remote()
        if published == version:
            self.engines.set_stored(version, buckets)

    async def next_batch(self, step: int) -> tuple[list[Group], dict[str, float], dict[str, float]]:
        """A step's graded groups in order of selection, its metrics, and the seconds waited by cause.

        Raises RuntimeError if no group can be graded, and EngineError or NoGraderError if no engine or grader is left.
        """
        self.chores.raise_failure()
        if step != self.ledger.step + 1:
            raise RuntimeError(f"step {step} was requested, but the next step is {self.ledger.step + 1}")
        waited: dict[str, float] = {}
        trained, due = await self.batches.next(waited)
        if not due:
            raise RuntimeError(f"no group of step {step} could be graded: {self.ledger.dropped[0]}")
        metrics = self._queue_metrics.since_last(self.engines, self.graders, self.ledger)
        metrics["dropped_groups"] = len(self.ledger.dropped)
        self.ledger.train(trained)
        left_out = sorted(set(due) - set(trained))
        self.ledger.leave_out(left_out, "dynamic sampling: no signal, or beyond a full batch")
        metrics["left_out_groups"] = len(left_out)
        metrics["trained_groups"] = len(trained)
        taught = [self._groups[key] for key in trained]
        groups = [self._groups.pop(key) for key in due]
        metrics |= batch_metrics(groups) | staleness_metrics(groups, step)
        metrics["select_seconds"] = self.waves.seconds
        metrics["select_wait_seconds"] = waited.get("select", 0.0)
        if self.config.run.keep_rollouts:
            kept = groups + self._ungraded
            ids = self.train.pool.ids([group.row for group in kept])
            self._keeping.append(self.journal.keep.remote(step, rollout_table(step, ids, kept)))
        self._ungraded = []
        # The beliefs need the rewards, not the new weights: the next tasks are selected while this batch trains.
        self._observed = self.chores.begin(self.waves.observe(groups))
        self.chores.begin(self._select(after=self._observed))
        return taught, metrics, waited

    async def observed(self) -> dict[str, float]:
        """The posterior's metrics for the last batch (`BOTS.metrics`)."""
        return await asyncio.shield(self._observed) if self._observed is not None else {}

    async def evaluate(self, step: int) -> dict[str, float]:
        """Mean reward of the newest policy, that of `step`, on the held-out tasks: overall and by domain.

        Raises EvaluationError if a task gets no completions.
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
        """The posterior's snapshot, the selections it keeps, and the ledger's state, all as of the last batch.

        On return, the ledger's file and the rollouts are on disk: a checkpoint must not be ahead of them.
        """
        while self.chores.running("observe", "_select"):
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
        """Select every wave that may be selected now."""
        if after is not None:
            await after
        async with self._selecting:
            while self.ledger.wants_wave:
                await self.waves.select()
                self._open_gate()

    # Generation

    def _open_gate(self) -> None:
        """Send the engines all requests that the newest policy version permits."""
        self.engines.submit(self._request(*key) for key in self.waves.begin(self._version))

    def _request(self, wave: int, row: int, samples: int | None = None, held: int = 0) -> Request:
        """A task's request. samples: completions; None: the size of its first round. held: those it already has."""
        seed = request_seed(self.config.run.seed, wave, row) + held if self.config.rollout.seeded else None
        samples = samples or self.ledger.rollouts((wave, row)) or self._sampling.samples
        return Request(
            (TRAIN, wave, row), self.train.prompts[row], replace(self._sampling, samples=samples), seed
        )

    def _begun(self, key: RequestKey, version: int) -> None:
        if key[0] == TRAIN:
            self.ledger.generate(key[1:], version)

    def _completed(self, key: RequestKey, rollouts: list[Rollout]) -> None:
        purpose, wave, row = key
        pool = self._pool_of(purpose)
        group = Group(row, pool.prompts[row], rollouts, wave=wave)
        if purpose == TRAIN:
            self.ledger.generated((wave, row), min(rollout.version for rollout in rollouts))
        self.chores.begin(self._grade(key, group, pool))

    def _lost_engine(self, name: str, reason: str, requests: Sequence[Request]) -> None:
        tasks = [request.key[1:] for request in requests if request.key[0] == TRAIN]
        self.ledger.note_loss(name, reason, tasks)
        for request in requests:
            self._returned(request.key)

    def _returned(self, key: RequestKey) -> None:
        if key[0] == TRAIN:
            self.ledger.again(key[1:])

    def _give_up(self, key: RequestKey, reason: str) -> None:
        if key[0] == TRAIN:
            self._drop(key[1:], reason)
        else:
            (task,) = self._pool_of(key[0]).pool.ids(np.array(key[2:], np.int64))
            self.chores.fail(EvaluationError(f"evaluation task {task} gets no completions: {reason}"))

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
            assert self._evaluation is not None
            self._evaluation.add(row, group)
            self.chores.tell()
            return
        group = joined(self._rounds.pop((wave, row), None), group)
        if group.graded and (more := self._allocator.more(group.rewards)):
            self._rounds[wave, row] = group
            self.ledger.another_round((wave, row))
            request = self._request(wave, row, more, held=len(group.rollouts))
            # Ahead of tasks that have not started: its batch is waiting for it.
            self.engines.submit([request], first=True)
        elif group.graded:
            self.ledger.graded((wave, row))
            self._groups[wave, row] = group
        else:
            # A partial group would bias the advantage, so a group with an ungraded completion is dropped as a whole.
            hole = int(np.flatnonzero(np.isnan(group.rewards))[0])
            self._ungraded.append(group)
            self._drop((wave, row), group.reasons[hole])
        self.chores.tell()

    def _drop(self, key: Key, reason: str) -> None:
        self._rounds.pop(key, None)
        self.ledger.drop(key, reason)
        self.chores.tell()

    # Start, and small lookups

    def _start(self, partners: Partners) -> None:
        self._started = True
        self.posterior, self.broker, self.journal = partners.posterior, partners.broker, partners.journal
        self.waves = Waves(self.config.selection, self.ledger, self.posterior, len(self.train.pool))
        self.chores = Chores()
        self.batches = Batches(
            self.config.selection,
            self.ledger,
            self.waves,
            self.chores,
            self._groups,
            len(self.train.pool),
            self._open_gate,
        )
        self._queue_metrics = QueueMetrics()
        self.engines = EnginePool(
            self.config.rollout,
            self._begun,
            self._completed,
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

    def _pool_of(self, purpose: str) -> EncodedPool:
        pool = self.train if purpose == TRAIN else self.evaluation
        assert pool is not None, f"a request for {purpose} without an evaluation pool"
        return pool
