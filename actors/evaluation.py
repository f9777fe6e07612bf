"""One evaluation: the newest policy's completions of the held-out tasks, graded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.batch_metrics import completion_metrics
from actors.fatal import FatalError
from bots.config.train import TrainConfig
from bots.metrics import pass_at_k
from bots.rollouts.encoded_pool import EncodedPool
from bots.rollouts.request import Request, Sampling, request_seed
from bots.rollouts.rollout import Group, rollout_table
from bots.sources.base import SET

EVALUATE = "evaluate"
"""First part of an evaluation request's key."""


class EvaluationError(FatalError):
    """A held-out task got no completions. Without it, the score would not be comparable to earlier ones."""


class Evaluation:
    """Collects the groups of an evaluation. Each group is added once, by its row of the held-out pool.

    pool: the held-out tasks with encoded prompts.
    """

    def __init__(self, pool: EncodedPool, config: TrainConfig) -> None:
        self.pool = pool
        self._config = config
        self._groups: dict[int, Group] = {}
        table = pool.pool.table
        self._set_of: list[str] | None = table[SET].to_pylist() if SET in table.column_names else None

    def requests(self) -> list[Request]:
        """One request per task, the same at every evaluation, so that scores differ only by the policy."""
        own, rollout = self._config.evaluation, self._config.rollout
        run_seed = self._config.run.seed if rollout.seeded else None
        samplings = {
            name: Sampling(
                own.samples_of(name), rollout.max_tokens, own.temperature, rollout.top_p, self.pool.stop_ids
            )
            for name in (own.sets or (None,))
        }
        return [
            Request(
                (EVALUATE, 0, row),
                self.pool.prompts[row],
                samplings[None if self._set_of is None else self._set_of[row]],
                None if run_seed is None else request_seed(run_seed, 0, row),
            )
            for row in range(len(self.pool.pool))
        ]

    def add(self, row: int, group: Group) -> None:
        """Add a graded group."""
        self._groups[row] = group

    @property
    def done(self) -> bool:
        """Whether every task has its group."""
        return len(self._groups) == len(self.pool.pool)

    def scores(self) -> dict[str, float]:
        """Mean reward, overall (`score`), by domain (`score/DOMAIN`) and by named set (`score/set/NAME`), of the tasks
        that could be graded. With named sets `score` is the mean of theirs, whatever their sizes.

        `score_stderr` is the standard error of `score` over tasks (arXiv 2411.00640, section 2.2: completions of a task
        are a cluster); two evaluations of one set share its tasks, so that their difference is known better. `pass@K`,
        K = 2, 4, … up to a task's samples, counts a completion as right if its reward is 1, over the tasks whose
        completions were all graded. Both also by set (`score_stderr/set/NAME`). `evaluation_ungraded` counts tasks
        without any grade. `evaluation_entropy`, `evaluation_completion_tokens` and `evaluation_finished_share` are
        `completion_metrics` of all completions: of the same tasks each time, so that policies can be compared.

        Raises RuntimeError if no task, or none of a set, could be graded.
        """
        means = np.array([_mean_reward(self._groups[row]) for row in range(len(self.pool.pool))])
        if self._set_of is None:
            scores = self._scores_of(np.arange(len(means)), means, "the evaluation tasks")
        else:
            scores = self._scores_by_set(means)
        scores["evaluation_ungraded"] = float(np.isnan(means).sum())
        for code, domain in enumerate(self.pool.pool.domains):
            of_domain = means[self.pool.pool.domain_codes == code]
            graded = of_domain[~np.isnan(of_domain)]
            scores[f"score/{domain}"] = float(graded.mean()) if len(graded) else float("nan")
        rollouts = [rollout for group in self._groups.values() for rollout in group.rollouts]
        return scores | {f"evaluation_{name}": value for name, value in completion_metrics(rollouts).items()}

    def _scores_by_set(self, means: npt.NDArray[np.float64]) -> dict[str, float]:
        set_of = np.array(self._set_of)
        of_sets = {
            name: self._scores_of(
                np.flatnonzero(set_of == name), means, f"the tasks of evaluation set {name}"
            )
            for name in dict.fromkeys(set_of.tolist())
        }
        errors = [found.get("score_stderr") for found in of_sets.values()]
        scores = {"score": float(np.mean([found["score"] for found in of_sets.values()]))}
        if None not in errors:
            scores["score_stderr"] = float(np.linalg.norm(np.array(errors, np.float64)) / len(errors))
        return scores | {
            f"{metric}/set/{name}": value
            for name, found in of_sets.items()
            for metric, value in found.items()
        }

    def _scores_of(
        self, rows: npt.NDArray[np.int64], means: npt.NDArray[np.float64], what: str
    ) -> dict[str, float]:
        """`score`, `score_stderr` and `pass@K` of some tasks, (K,) rows of the pool with their mean rewards (N,)."""
        graded = means[rows][~np.isnan(means[rows])]
        if not len(graded):
            raise RuntimeError(f"none of the completions of {what} could be graded")
        scores = {"score": float(graded.mean())}
        if len(graded) > 1:
            scores["score_stderr"] = float(graded.std(ddof=1) / np.sqrt(len(graded)))
        whole = [group.rewards for row in rows if (group := self._groups[int(row)]).graded]
        right = [int((rewards >= 1).sum()) for rewards in whole]
        sizes = [len(rewards) for rewards in whole]
        most = min(sizes, default=0)
        return scores | {f"pass@{2**i}": pass_at_k(right, sizes, 2**i) for i in range(1, most.bit_length())}

    def table(self, step: int) -> pa.Table:
        """The completions, as `rollout_table` writes them."""
        rows = sorted(self._groups)
        ids = self.pool.pool.ids(np.array(rows, np.int64))
        return rollout_table(step, ids, [self._groups[row] for row in rows])


def _mean_reward(group: Group) -> float:
    graded = group.rewards[~np.isnan(group.rewards)]
    return float(graded.mean()) if len(graded) else float("nan")
