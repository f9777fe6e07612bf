"""Build one task pool from the configured sources, streaming Arrow blocks in parallel through Ray Data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray.data import DataContext, Datasource, ReadTask
from ray.data.block import BlockMetadata

from bots.config.pool import PoolConfig
from bots.pool import TaskPool
from bots.sources.base import SourceError
from bots.sources.collect import TOO_LONG, Collector, SourceReport
from bots.sources.open import ReadPart, plan_parts

if TYPE_CHECKING:
    from bots.rollouts.templates import PromptEncoder

SOURCE = "source_number"


def build_pool(config: PoolConfig, tokenizer: Any = None) -> TaskPool:
    """Read, check and concatenate the configured sources; the same rows in the same order on every machine.

    If Ray is running and there are several parts, Ray Data tasks read them on the cluster and stream them here;
    otherwise this process reads them one by one. Only the final columns are kept in memory.

    tokenizer: a loaded tokenizer or its path; only needed for `max_prompt_tokens`.
    Raises SourceError, UnknownGraderError, PoolError or TemplateError, naming file, row or column.
    """
    return read_reported(config, tokenizer)[0]


def read_reported(config: PoolConfig, tokenizer: Any = None) -> tuple[TaskPool, list[SourceReport]]:
    """As `build_pool`, with what became of each source's rows."""
    names, parts = plan_parts(config)
    collector = Collector(config, names)
    length_filter = _LengthFilter(config, tokenizer)
    if ray.is_initialized() and len(parts) > 1:
        for block in _stream(parts, length_filter):
            collector.add(block[SOURCE][0].as_py(), block.drop_columns([SOURCE]))
    else:
        for part in parts:
            for piece in part.read():
                collector.add(part.source, length_filter(piece))
    return collector.finish(), collector.reports


class _LengthFilter:
    """Marks prompts with too many tokens. Picklable."""

    def __init__(self, config: PoolConfig, tokenizer: Any) -> None:
        self.limit = config.max_prompt_tokens
        if self.limit is not None and tokenizer is None:
            raise SourceError(f"max_prompt_tokens is {self.limit}, but there is no tokenizer to count with")
        self.tokenizer, self.template = tokenizer, config.template
        if self.limit is not None:
            self._encoder()  # fails early if the chat template is missing

    def __call__(self, piece: pa.Table) -> pa.Table:
        if self.limit is None:
            return piece
        good = piece["problem"].is_null()
        lengths = self._encoder().lengths(piece["prompt"].filter(good).to_pylist())
        too_long = good.to_numpy().copy()
        too_long[too_long] = lengths > self.limit
        return piece.append_column(TOO_LONG, pa.array(too_long))

    def _encoder(self) -> PromptEncoder:
        # Here because transformers takes 200 MiB in every process that reads.
        from bots.rollouts.templates import PromptEncoder

        if isinstance(self.tokenizer, str | Path):
            return _load_encoder(str(self.tokenizer), self.template)
        return PromptEncoder(self.tokenizer, self.template)


@cache
def _load_encoder(tokenizer: str, template: str | None) -> PromptEncoder:
    from bots.rollouts.templates import PromptEncoder

    return PromptEncoder(tokenizer, template)


class _Parts(Datasource):
    """The parts as a Ray Data source, with one read task each."""

    def __init__(self, parts: list[ReadPart], length_filter: _LengthFilter) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._parts, self._length_filter = parts, length_filter

    def get_name(self) -> str:
        return "TaskSources"

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        return [ReadTask(_Read(part, self._length_filter), unknown) for part in self._parts]


class _Read:
    """One read task; every block carries the number of its source."""

    def __init__(self, part: ReadPart, length_filter: _LengthFilter) -> None:
        self._part, self._length_filter = part, length_filter

    def __call__(self) -> Iterable[pa.Table]:
        for piece in self._part.read():
            number = pa.array([self._part.source] * piece.num_rows, pa.int16())
            yield self._length_filter(piece).append_column(SOURCE, number)


def _stream(parts: list[ReadPart], length_filter: _LengthFilter) -> Iterator[pa.Table]:
    """Blocks in the order of the parts."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = (
        True  # row numbers must not depend on which task finishes first
    )
    with DataContext.current(context):
        dataset = ray.data.read_datasource(_Parts(parts, length_filter), override_num_blocks=len(parts))
    try:
        for bundle in dataset.iter_internal_ref_bundles():
            for entry in bundle.blocks:
                block: pa.Table = ray.get(entry.ref)
                if block.num_rows:
                    yield block
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ValueError):  # from a source: the message names the file and the row
            raise error.cause from None
        raise
