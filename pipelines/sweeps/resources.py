"""How many trials run concurrently: the cluster's resources divided by those of one trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bots.config.train import TrainConfig
from pipelines.shared import resources
from pipelines.sweeps.config import Sweep
from pipelines.sweeps.space import points


@dataclass(frozen=True)
class TrialDemand:
    """Resources of the largest trial. demands: its processes."""

    demands: list[resources.Demand]

    @property
    def total(self) -> dict[str, float]:
        """CPU, GPU and custom resources of one trial."""
        kinds = ("CPU", "GPU", *sorted({kind for d in self.demands for kind in d.others}))
        return {kind: sum(d.count * d.each(kind) for d in self.demands) for kind in kinds}

    def concurrent(self, available: Mapping[str, float], most: int | None) -> int:
        """Number of trials that fit at the same time, at most `most`.

        Raises ResourceError with the arithmetic if not even one fits. A trial that starts has all its resources, so no
        two half-started trials block each other; the others wait for their turn.
        """
        resources.check(self.demands, available)
        fits = [
            math.floor(available.get(kind, 0.0) / asked + 1e-9) for kind, asked in self.total.items() if asked
        ]
        return min([*fits, *([most] if most else [])])

    def describe(self, available: Mapping[str, float] | None = None, most: int | None = None) -> str:
        """The plan of one trial and, if the cluster is known, how many run at a time."""
        lines = [f"one trial: {line}" for line in resources.describe(self.demands).splitlines()]
        if available is not None:
            has = " and ".join(
                f"{available.get(kind, 0):g} {kind}" for kind, asked in self.total.items() if asked
            )
            lines.append(f"the cluster has {has}: {self.concurrent(available, most)} trials at a time")
        return "\n".join(lines)


def trial_demand(sweep: Sweep) -> TrialDemand:
    """Demand of the largest trial in the space."""
    if not isinstance(sweep.base_job, TrainConfig):
        return TrialDemand([resources.Demand("simulation", 1, sweep.config.search.cpus, 0.0, "search.cpus")])
    varied = {key: one for key, one in sweep.config.space.items() if key.startswith(("rollout.", "learner."))}
    candidates = [_demands(sweep.train_job(point)) for point in (points(varied) if varied else [{}])]
    return TrialDemand(max(candidates, key=_size))


def _demands(config: TrainConfig) -> list[resources.Demand]:
    # All engines, including those that may join later: other trials would leave no room for them.
    whole = config.rollout.model_copy(update={"min_engines": None})
    return resources.plan(config.model_copy(update={"rollout": whole}))


def _size(demands: list[resources.Demand]) -> tuple[float, float]:
    return sum(d.count * d.gpus for d in demands), sum(d.count * d.cpus for d in demands)
