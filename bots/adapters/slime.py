"""slime: a data source, `--data-source-path bots.adapters.slime.BOTSDataSource`.

Settings stand in `bots` of the file that `--custom-config-path` names: those of BOTS, and `weak`, `strong`, `level`,
`domain`, which name entries of the samples' metadata, `id` likewise, and `scale`, [lowest, highest reward].
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pyarrow as pa

from bots.adapters.curriculum import Curriculum
from bots.adapters.peers import UnsupportedPeerError, require_hooks
from bots.core import BOTS
from bots.pool import PoolError, TaskPool

try:
    from slime.rollout.data_source import RolloutDataSourceWithBuffer
except ImportError as error:
    raise UnsupportedPeerError(
        f"slime's data source is missing ({error}); this adapter works with slime 0.3 from its sources: the package "
        "called slime on PyPI is another project"
    ) from error

TESTED = "RolloutDataSourceWithBuffer of slime 0.3"
COLUMNS = ("id", "weak", "strong", "level", "domain")
ABORTED = "aborted"
"""Value of `Sample.Status.ABORTED`."""


class BOTSDataSource(RolloutDataSourceWithBuffer):
    """slime's data source with a buffer; new groups are of the tasks that BOTS selects.

    The rewards come back in the very samples that were handed out: slime's rollout writes into them. They are read when
    the next ones are asked for, and before saving. With --partial-rollout an aborted group waits until it was completed
    from the buffer; without, slime discards it, and its task may be selected again.
    """

    def __init__(self, args: Any) -> None:
        require_hooks(type(self), BOTSDataSource, ["_get_samples_from_buffer", "save", "load"], TESTED)
        super().__init__(args)
        if self.dataset is None:
            raise PoolError(
                "BOTS selects among the rows of --prompt-data, with --rollout-global-dataset; there are none"
            )
        # Before any shuffle: rows must be the same ones after a restart.
        self._origin = list(getattr(self.dataset, "origin_samples", self.dataset.samples))
        options = dict(getattr(args, "bots", None) or {})
        columns = {name: options.pop(name) for name in COLUMNS if name in options}
        scale = options.pop("scale", None)
        pool = _pool(self._origin, columns)
        bots = BOTS(pool, **{"rollouts": args.n_samples_per_prompt} | options)
        scale = None if scale is None else (scale[0], scale[1])
        self.curriculum = Curriculum(bots, scale=scale, wave=args.rollout_batch_size)
        self._handed: list[tuple[int, int, list[Any]]] = []

    def get_samples(self, num_samples: int) -> list[list[Any]]:
        """Groups from the buffer first, then of selected tasks."""
        self.harvest()
        groups: list[list[Any]] = self._get_samples_from_buffer(num_samples)
        missing = num_samples - len(groups)
        for wave, row in self.curriculum.take(missing) if missing else []:
            group = []
            for _ in range(self.args.n_samples_per_prompt):
                sample = copy.deepcopy(self._origin[row])
                sample.group_index, sample.index = self.sample_group_index, self.sample_index
                self.sample_index += 1
                group.append(sample)
            self.sample_group_index += 1
            self._handed.append((wave, row, group))
            groups.append(group)
        return groups

    def harvest(self) -> None:
        """Learn from the groups whose samples all have a reward by now; give up those that slime discarded."""
        waiting = []
        for wave, row, group in self._handed:
            if any(sample.reward is None for sample in group):
                if not self.args.partial_rollout and any(sample.status.value == ABORTED for sample in group):
                    self.curriculum.drop([row], wave)
                else:
                    waiting.append((wave, row, group))
                continue
            rewards = [float(sample.get_reward_value(self.args)) for sample in group]
            self.curriculum.observe([row] * len(group), rewards, wave, complete=True)
        self._handed = waiting

    def save(self, rollout_id: int) -> None:
        """slime's state, and the posterior beside it."""
        self.harvest()
        super().save(rollout_id)
        self.curriculum.save(self._folder(self.args.save, rollout_id))

    def load(self, rollout_id: int | None = None) -> None:
        """Restore what `save` wrote; groups that were in flight are given up, as slime does."""
        super().load(rollout_id)
        if (
            self.args.load is None
            or rollout_id is None
            or not self._folder(self.args.load, rollout_id).is_dir()
        ):
            return
        self.curriculum.load(self._folder(self.args.load, rollout_id))
        self._handed = []
        self.curriculum.drop(self.curriculum.handed_out())

    @staticmethod
    def _folder(root: str, rollout_id: int) -> Path:
        return Path(root) / "rollout" / f"bots_{rollout_id}"


def _pool(samples: list[Any], columns: dict[str, str]) -> TaskPool:
    table: dict[str, list[Any]] = {
        "prompt": [str(s.prompt) for s in samples],
        "answer": [str(s.label) for s in samples],
    }
    for column, name in columns.items():
        missing = next((at for at, s in enumerate(samples) if name not in (s.metadata or {})), None)
        if missing is not None:
            raise PoolError(f"sample {missing} has no {name!r} in its metadata, which bots.{column} names")
        table[column] = [s.metadata[name] for s in samples]
    anchors = ("weak" if "weak" in columns else None, "strong" if "strong" in columns else None)
    return TaskPool.from_arrow(pa.table(table), *anchors)
