"""OpenRLHF: a mixin for its samples generator. docs/adapters.md has the two lines in which its trainer takes one."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from bots.adapters.curriculum import Curriculum
from bots.adapters.loader import SelectingLoader
from bots.adapters.peers import require_hooks
from bots.adapters.scale import Scale
from bots.core import BOTS
from bots.pool import PoolError


class BOTSMixin:
    """Put before OpenRLHF's SamplesGenerator: `class BOTSSamplesGenerator(BOTSMixin, SamplesGenerator)`.

    bots: the posterior over the rows of the prompt data set, in its order; `rollouts` is `n_samples_per_prompt`.
    Rewards must come with the responses (an agent or a remote reward function), not from a reward model.
    A response knows its prompt's text only, so the tasks of equal prompts must not be in flight together: they are
    refused where the pool has two.
    """

    def __init__(self, *args: Any, bots: BOTS, scale: Scale = None, **kwargs: Any) -> None:
        hooks = ["_process_response_into_experience"]
        require_hooks(type(self), BOTSMixin, hooks, "SamplesGenerator of OpenRLHF 0.11")
        super().__init__(*args, **kwargs)
        here: Any = self
        dataset = here.prompts_dataloader.dataset
        rows: dict[str, list[int]] = defaultdict(list)
        for row, prompt in enumerate(dataset.prompts):
            rows[prompt].append(row)
        twice = next((found for found in rows.values() if len(found) > 1), None)
        if twice is not None:
            raise ValueError(f"rows {twice} of the prompt data set have the same prompt; keep one of them")
        _check_order(bots, dataset)
        self._row_of = {prompt: found[0] for prompt, found in rows.items()}
        self.curriculum = Curriculum(bots, scale=scale, wave=here.args.rollout.batch_size)
        here.prompts_dataloader = SelectingLoader(
            dataset, self.curriculum, 1, dataset.collate_fn, len(dataset)
        )

    def _process_response_into_experience(self, response: Any, **how: Any) -> Any:
        experience = super()._process_response_into_experience(response, **how)  # type: ignore[misc]
        row = self._row_of.get(response["prompt"])
        if row is not None and row in self.curriculum.in_flight():
            if response.get("reward") is None:
                raise ValueError(
                    "a response came without a reward; BOTS needs an agent or a remote reward function"
                )
            self.curriculum.observe([row], [float(response["reward"])])
        return experience


def _check_order(bots: BOTS, dataset: Any) -> None:
    """Raise PoolError where the prompts or labels are the pool's prompts or answers in another order.

    Other texts may be the same tasks: prompts get a template, and a label may come from any column.
    """
    table = bots.pool.table
    for column, texts in (("answer", dataset.labels), ("prompt", dataset.prompts)):
        if column not in table.column_names:
            continue
        ours, theirs = [str(text) for text in table[column].to_pylist()], [str(text) for text in texts]
        if ours != theirs and sorted(ours) == sorted(theirs):
            row = next(row for row, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
            raise PoolError(
                f"the prompt data set has the pool's tasks in another order, from row {row} on; make the pool from "
                "the file that OpenRLHF reads, as it is"
            )
