"""One evaluation: the newest policy's completions of the held-out tasks, graded."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from actors.fatal import FatalError
from bots.config.train import TrainConfig
from bots.metrics import pass_at_k
from bots.rollouts.encoded_pool import EncodedPool
from bots.rollouts.request import Request, Sampling, request_seed
from bots.rollouts.rollout import Group, rollout_table

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

    def requests(self) -> list[Request]:
        """One request per task, the same at every evaluation, so that scores differ only by the policy."""
        own, rollout = self._config.evaluation, self._config.rollout
        sampling = Sampling(
            own.samples, rollout.max_tokens, own.temperature, rollout.top_p, self.pool.stop_ids
        )
        run_seed = self._config.run.seed if rollout.seeded else None
        return [
            Request(
                (EVALUATE, 0, row),
                self.pool.prompts[row],
                sampling,
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
        """Mean reward, overall (`score`) and by domain (`score/DOMAIN`), of the tasks that could be graded.

        `score_stderr` is the standard error of `score` over tasks (arXiv 2411.00640, section 2.2: completions of a task
        are a cluster); two evaluations of one set share its tasks, so that their difference is known better. `pass@K`,
        K = 2, 4, … up to `evaluation.samples`, counts a completion as right if its reward is 1, over the tasks whose
        completions were all graded. `evaluation_ungraded` counts tasks without any grade.

        Raises RuntimeError if no task could be graded.
        """
        means = np.array([_mean_reward(self._groups[row]) for row in range(len(self.pool.pool))])
        ungraded = int(np.isnan(means).sum())
        if ungraded == len(means):
            raise RuntimeError("none of the completions of the evaluation tasks could be graded")
        scores = {"score": float(np.nanmean(means)), "evaluation_ungraded": float(ungraded)}
        if len(means) - ungraded > 1:
            scores["score_stderr"] = float(np.nanstd(means, ddof=1) / np.sqrt(len(means) - ungraded))
        scores |= self._passes()
        for code, domain in enumerate(self.pool.pool.domains):
            of_domain = means[self.pool.pool.domain_codes == code]
            graded = of_domain[~np.isnan(of_domain)]
            scores[f"score/{domain}"] = float(graded.mean()) if len(graded) else float("nan")
        return scores

    def _passes(self) -> dict[str, float]:
        whole = [group.rewards for group in self._groups.values() if group.graded]
        right = [int((rewards >= 1).sum()) for rewards in whole]
        sizes = [len(rewards) for rewards in whole]
        most = min(sizes, default=0)
        return {f"pass@{2**i}": pass_at_k(right, sizes, 2**i) for i in range(1, most.bit_length())}

    def table(self, step: int) -> pa.Table:
        """The completions, as `rollout_table` writes them."""
        rows = sorted(self._groups)
        ids = self.pool.pool.ids(np.array(rows, np.int64))
        return rollout_table(step, ids, [self._groups[row] for row in rows])


def _mean_reward(group: Group) -> float:
    graded = group.rewards[~np.isnan(group.rewards)]
    return float(graded.mean()) if len(graded) else float("nan")
