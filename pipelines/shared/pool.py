"""One task pool from several configured sources: a stream of Arrow blocks, in parallel through Ray Data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray.data import DataContext, Datasource, ReadTask
from ray.data.block import BlockMetadata

from bots.pool import TaskPool
from bots.sources.base import SourceError
from bots.sources.collect import TOO_LONG, Collector
from bots.sources.config import PoolConfig
from bots.sources.open import ReadPart, plan_parts

if TYPE_CHECKING:
    from bots.rollouts.templates import PromptEncoder

SOURCE = "source_number"


def build_pool(config: PoolConfig, tokenizer: Any = None) -> TaskPool:
    """Read, check and join the configured sources; the same rows in the same order on every machine.

    Where Ray is running and there is more than one part to read, the parts are read by Ray Data tasks on the
    cluster and streamed here; else one after the other in this process. Only the finished columns are held.

    tokenizer: a loaded tokenizer or where to load it from; needed for `max_prompt_tokens` alone.
    Raises SourceError, UnknownGraderError, PoolError or TemplateError, naming file, row or column.
    """
    names, parts = plan_parts(config)
    collector = Collector(config, names)
    measure = _Measure(config, tokenizer)
    if ray.is_initialized() and len(parts) > 1:
        for block in _stream(parts, measure):
            collector.add(block[SOURCE][0].as_py(), block.drop_columns([SOURCE]))
    else:
        for part in parts:
            for piece in part.read():
                collector.add(part.source, measure(piece))
    return collector.finish()


class _Measure:
    """Marks the prompts that have too many tokens. Can be sent to another process."""

    def __init__(self, config: PoolConfig, tokenizer: Any) -> None:
        self.limit = config.max_prompt_tokens
        if self.limit is not None and tokenizer is None:
            raise SourceError(f"max_prompt_tokens is {self.limit}, but there is no tokenizer to count with")
        self.tokenizer, self.template = tokenizer, config.template
        if self.limit is not None:
            self._encoder()  # a missing template is known before anything is read

    def __call__(self, piece: pa.Table) -> pa.Table:
        if self.limit is None:
            return piece
        good = piece["problem"].is_null()
        lengths = self._encoder().lengths(piece["prompt"].filter(good).to_pylist())
        too_long = good.to_numpy().copy()
        too_long[too_long] = lengths > self.limit
        return piece.append_column(TOO_LONG, pa.array(too_long))

    def _encoder(self) -> PromptEncoder:
        # transformers takes 200 MiB in every process that reads: only where tokens are counted.
        from bots.rollouts.templates import PromptEncoder

        if isinstance(self.tokenizer, str | Path):
            return _load_encoder(str(self.tokenizer), self.template)
        return PromptEncoder(self.tokenizer, self.template)


@cache
def _load_encoder(tokenizer: str, template: str | None) -> PromptEncoder:
    from bots.rollouts.templates import PromptEncoder

    return PromptEncoder(tokenizer, template)


class _Parts(Datasource):
    """The planned parts as a Ray Data source: one read task each."""

    def __init__(self, parts: list[ReadPart], measure: _Measure) -> None:
        super().__init__()
        self._parts, self._measure = parts, measure

    def get_name(self) -> str:
        return "TaskSources"

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        return [ReadTask(_Read(part, self._measure), unknown) for part in self._parts]


class _Read:
    """What one read task does; every block says which source it is of."""

    def __init__(self, part: ReadPart, measure: _Measure) -> None:
        self._part, self._measure = part, measure

    def __call__(self) -> Iterable[pa.Table]:
        for piece in self._part.read():
            number = pa.array([self._part.source] * piece.num_rows, pa.int16())
            yield self._measure(piece).append_column(SOURCE, number)


def _stream(parts: list[ReadPart], measure: _Measure) -> Iterator[pa.Table]:
    """The blocks in the order of the parts."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True  # row numbers must not depend on which task is faster
    with DataContext.current(context):
        dataset = ray.data.read_datasource(_Parts(parts, measure), override_num_blocks=len(parts))
    try:
        for bundle in dataset.iter_internal_ref_bundles():
            for entry in bundle.blocks:
                block: pa.Table = ray.get(entry.ref)
                if block.num_rows:
                    yield block
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ValueError):  # ours: the message names the file and the row
            raise error.cause from None
        raise
