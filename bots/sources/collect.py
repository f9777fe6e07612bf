"""From normalised pieces of several sources to one pool: bad rows, duplicates, lengths."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bots.config.pool import PoolConfig
from bots.pool import EMBEDDING, TaskPool
from bots.sources.base import PROBLEM, REPEATED, SourceError
from bots.sources.measured import with_anchors, with_embeddings

log = logging.getLogger(__name__)
TOO_LONG = "too_long"
"""Extra column of a measured piece: whether the prompt has more tokens than allowed."""
SHOWN = 5


@dataclass
class SourceReport:
    """What became of one source's rows."""

    name: str
    rows: int = 0
    kept: int = 0
    bad: int = 0
    too_long: int = 0
    repeated: int = 0
    """Rows that stand in the source more than once, each being one task."""
    anchored: int = 0
    """Kept rows whose reference pass rates are both known."""
    embedded: int | None = None
    """Kept rows that the source's embeddings file has; None without such a file."""
    examples: list[str] = field(default_factory=list)
    """The first few bad rows, each with its place and reason."""
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many rows were left out, by domain and reason."""

    def __str__(self) -> str:
        line = f"{self.name}: {self.kept} of {self.rows} rows, {self.anchored} of them with anchors"
        if self.embedded is not None:
            line += f", {self.embedded} with embeddings"
        if self.bad:
            line += f", {self.bad} bad rows left out ({'; '.join(self.examples)}{' …' * (self.bad > SHOWN)})"
        if self.repeated:
            line += f", {self.repeated} repeats of others left out (evaluation.samples samples a task several times)"
        if self.too_long:
            line += f", {self.too_long} left out for their length"
        return line


class Collector:
    """Takes the pieces in order, refuses bad rows beyond the allowed share, and makes the pool."""

    def __init__(self, config: PoolConfig, names: list[str]) -> None:
        self._config = config
        self.reports = [SourceReport(name) for name in names]
        self._tables: list[list[pa.Table]] = [[] for _ in names]
        self._says_repeated = [False for _ in names]

    def add(self, source: int, piece: pa.Table) -> None:
        """Take a normalised piece of source number `source`; the piece's memory is not kept.

        Raises SourceError at the first bad row where none is allowed.
        """
        report = self.reports[source]
        report.rows += piece.num_rows
        keep = np.ones(piece.num_rows, bool)
        if piece[PROBLEM].null_count < piece.num_rows:
            good = piece[PROBLEM].is_null().to_numpy()
            bad = piece.filter(pa.array(~good))
            self._bad(source, bad[PROBLEM].to_pylist(), bad["domain"].to_pylist())
            keep &= good
        if TOO_LONG in piece.column_names:
            too_long = piece[TOO_LONG].to_numpy() & keep
            report.too_long += int(too_long.sum())
            for domain in piece["domain"].filter(pa.array(too_long)).to_pylist():
                report.dropped[domain, "the prompt is too long (max_prompt_tokens)"] += 1
            keep &= ~too_long
        report.kept += int(keep.sum())
        self._says_repeated[source] |= bool(pc.any(piece[REPEATED]).as_py())
        kept = piece.drop_columns([n for n in (PROBLEM, TOO_LONG, REPEATED) if n in piece.column_names])
        # A copy, since the piece may lie in memory that is shared and goes away with its owner.
        self._tables[source].append(_copy(kept if keep.all() else kept.filter(pa.array(keep))))

    def _bad(self, source: int, problems: list[str], domains: list[str | None]) -> None:
        for problem, domain in zip(problems, domains, strict=True):
            self.reports[source].dropped[domain or "unknown", kind_of_problem(problem)] += 1
        report, allowed = self.reports[source], self._config.sources[source].bad_rows
        report.bad += len(problems)
        report.examples += problems[: SHOWN - len(report.examples)]
        if problems and allowed == 0:
            raise SourceError(
                f"{problems[0]}. To leave bad rows out and have them counted, allow a share of them: "
                f"`bad_rows: 0.01` for this source"
            )

    def _longest(self) -> str:
        longest = self._config.max_prompt_tokens
        return "" if longest is None else f"; the pool's max_prompt_tokens is {longest}"

    def finish(self) -> TaskPool:
        """The pool, with one line about each source in the log.

        Raises SourceError for too many bad rows, ids that occur twice, and a source or a pool without rows.
        """
        for source in range(len(self._tables)):
            self._drop_repeats(source)
        self._drop_duplicates()
        tables = []
        for report, settings, pieces in zip(self.reports, self._config.sources, self._tables, strict=True):
            if report.bad > settings.bad_rows * report.rows:
                raise SourceError(
                    f"{report.name}: {report.bad} of {report.rows} rows are bad, more than the allowed share "
                    f"{settings.bad_rows:g}: {'; '.join(report.examples)}"
                )
            if report.kept == 0:
                raise SourceError(
                    f"no row is left of {report}{self._longest()}"
                    if report.rows
                    else f"{report.name} has no rows"
                )
            try:
                whole = pa.concat_tables(pieces, promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise SourceError(
                    f"{report.name}: a column has other types in other files: {error}"
                ) from error
            table = with_embeddings(with_anchors(whole, settings), settings)
            known = pc.and_(table["weak"].is_valid(), table["strong"].is_valid())
            report.anchored = pc.sum(known).as_py() or 0
            if settings.embeddings is not None:
                report.embedded = table.num_rows - table[EMBEDDING].null_count
            log.info("%s", report)
            tables.append(table)
        self._tables = []
        try:
            table = pa.concat_tables(tables, promote_options="default")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise SourceError(f"a kept column has another type in another source: {error}") from error
        if table["weak"].null_count == table.num_rows and table["strong"].null_count == table.num_rows:
            return TaskPool.from_arrow(table)
        return TaskPool.from_arrow(table, "weak", "strong")

    def _drop_repeats(self, source: int) -> None:
        """Of a source that holds each of its tasks several times, as evaluation sets do, each one stays once.

        Such a source says so by its name, or has every task equally often. Where only some stand twice, something is
        wrong with it: these are duplicates.
        """
        pieces = self._tables[source]
        if not any(piece.num_rows for piece in pieces):
            return
        ids = pa.concat_tables([piece.select(["id"]) for piece in pieces])["id"].combine_chunks()
        codes = ids.dictionary_encode().indices.to_numpy()
        counts = np.bincount(codes)
        often = int(counts[0])
        if len(counts) == len(codes):
            return
        evenly = len(counts) > 1 and often > 1 and bool((counts == often).all())
        if not (evenly or self._says_repeated[source]):
            return
        from bots.support.row_digest import row_digests  # loads numba

        contents = np.concatenate([row_digests(piece.select(["prompt", "answer"])) for piece in pieces])
        if len(np.unique(np.stack([codes.astype(np.uint64), contents], axis=1), axis=0)) > len(counts):
            return  # one id for several tasks
        first = np.zeros(len(codes), bool)
        first[np.unique(codes, return_index=True)[1]] = True
        start = 0
        report = self.reports[source]
        for number, piece in enumerate(pieces):
            keep = first[start : start + piece.num_rows]
            for domain in piece["domain"].filter(pa.array(~keep)).to_pylist():
                report.dropped[domain, "it repeats another row"] += 1
            pieces[number] = piece.filter(pa.array(keep))
            start += piece.num_rows
        report.repeated = len(codes) - len(counts)
        report.kept -= report.repeated

    def _drop_duplicates(self) -> None:
        """The first of several rows with one id stays; the others are bad rows of their source."""
        ids = [piece["id"] for pieces in self._tables for piece in pieces]
        if not ids:
            return
        chunks = pa.chunked_array([chunk for column in ids for chunk in column.chunks], pa.string())
        if pc.count_distinct(chunks).as_py() == len(chunks):
            return
        codes = chunks.combine_chunks().dictionary_encode().indices.to_numpy()
        first = np.zeros(len(codes), bool)
        first[np.unique(codes, return_index=True)[1]] = True
        start = 0
        for source, pieces in enumerate(self._tables):
            for number, piece in enumerate(pieces):
                keep = first[start : start + piece.num_rows]
                start += piece.num_rows
                if keep.all():
                    continue
                again = piece["id"].filter(pa.array(~keep)).to_pylist()
                self.reports[source].kept -= len(again)
                name = self.reports[source].name
                self._bad(
                    source,
                    [f"{name}: id {task!r} occurs more than once in the pool" for task in again],
                    piece["domain"].filter(pa.array(~keep)).to_pylist(),
                )
                pieces[number] = piece.filter(pa.array(keep))


def kind_of_problem(problem: str) -> str:
    """What is wrong with a row, without its place and its own values, so that rows can be counted by it."""
    what = re.sub(r"^.*?(?:row|line|task) \d+: |^.*?: (?=id )", "", problem)
    return re.sub(r"'[^']*'|\"[^\"]*\"|\b\d[\d.e-]*", "…", what)[:100]


def _copy(table: pa.Table) -> pa.Table:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()
