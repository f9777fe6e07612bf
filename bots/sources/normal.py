"""From a source's own columns to the normal schema, on Arrow arrays, naming every row that does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bots.sources import guru
from bots.sources.base import NORMAL, PROBLEM, Piece
from bots.sources.hashing import content_ids
from bots.sources.mapping import Mapping, check_grader, column_at
from bots.sources.messages import messages_of, with_system
from bots.sources.problems import Problems


def normalise(piece: Piece, mapping: Mapping) -> pa.Table:
    """The piece in the normal schema plus kept columns plus `problem` (string: why the row is bad, or null).

    No row is left out here. Raises SourceError only for what concerns a whole column.
    """
    settings, table = mapping.settings, piece.table
    rows = table.num_rows
    problems = Problems(rows)
    for row, why in piece.broken.items():
        problems.add_one(row, why)
    missing = pa.nulls(rows)

    def column(name: str) -> pa.Array:
        return column_at(table, mapping.columns[name]) if name in mapping.columns else missing

    prompt = messages_of(column("prompt"), problems)
    answer = _text(column("answer"), problems, "answer")
    ids = content_ids(prompt, answer) if "id" not in mapping.columns else _text(column("id"), problems, "id")
    domain, grader = _domain_and_grader(table, mapping, column, problems)
    weak, strong = (_anchor(column(name), problems, name) for name in ("weak", "strong"))
    if settings.system is not None:
        prompt = with_system(prompt, settings.system, problems)
    arrays = [ids, prompt, answer, domain, grader, _level(column("level"), problems), weak, strong]
    arrays.append(pa.array(np.full(rows, settings.weight, np.float32)))
    normal = pa.Table.from_arrays(arrays, schema=NORMAL)
    for name in settings.keep:
        normal = normal.append_column(name, table[name])
    return normal.append_column(PROBLEM, problems.column(piece))


def _text(values: pa.Array, problems: Problems, what: str) -> pa.StringArray:
    """Text as it is, numbers written out, anything nested as JSON."""
    problems.add(values.is_null().to_numpy(zero_copy_only=False), f"the {what} is null")
    if pa.types.is_nested(values.type):
        return pa.array(
            [None if v is None else json.dumps(v, ensure_ascii=False) for v in values.to_pylist()],
            pa.string(),
        )
    texts = values.cast(pa.string())
    empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0).fill_null(False)
    problems.add(empty.to_numpy(zero_copy_only=False), f"the {what} is empty")
    return texts


def _domain_and_grader(
    table: pa.Table, mapping: Mapping, column: Callable[[str], pa.Array], problems: Problems
) -> tuple[pa.StringArray, pa.StringArray]:
    settings, rows = mapping.settings, table.num_rows

    def constant(text: str) -> pa.Array:
        return pa.repeat(text, rows)

    domain = constant(settings.domain) if settings.domain else column("domain")
    grader = constant(settings.grader) if settings.grader else column("grader")
    if mapping.guru:
        sources = column_at(table, guru.SOURCE_COLUMN)
        known = _translate(sources, guru.domain_of)
        unknown = known.is_null().to_numpy(zero_copy_only=False)
        if settings.domain is None and "domain" not in mapping.columns:
            domain = known
            problems.add(
                unknown, lambda r: f"unknown domain: data_source is {sources[r].as_py()!r}; set `domain`"
            )
        if settings.grader is None and "grader" not in mapping.columns:
            grader = known
            problems.add(unknown, lambda r: f"no grader for data_source {sources[r].as_py()!r}; set `grader`")
    elif settings.domain is None and "domain" not in mapping.columns:
        domain = constant("default")
    domain, grader = domain.cast(pa.string()), grader.cast(pa.string())
    problems.add(domain.is_null().to_numpy(zero_copy_only=False), "the domain is null")
    problems.add(grader.is_null().to_numpy(zero_copy_only=False), "the grader is null")
    if mapping.allowed_domains is not None:
        known_domains = ", ".join(mapping.allowed_domains)
        allowed = pc.is_in(domain, value_set=pa.array(mapping.allowed_domains, pa.string()))
        problems.add(
            ~allowed.to_numpy(zero_copy_only=False),
            lambda r: f"unknown domain {domain[r].as_py()!r}; allowed are {known_domains}",
        )
    if settings.grader is None:
        faults = {name: _grader_fault(name) for name in grader.unique().drop_null().to_pylist()}
        for name, fault in faults.items():
            if fault is not None:
                problems.add(pc.equal(grader, name).fill_null(False).to_numpy(zero_copy_only=False), fault)
    return domain, grader


def _grader_fault(name: str) -> str | None:
    try:
        check_grader(name)
    except (ValueError, ImportError) as error:
        return str(error)
    return None


def _translate(values: pa.Array, translate: Callable[[str], str | None]) -> pa.StringArray:
    """Each distinct value is translated once."""
    encoded = values.dictionary_encode()
    words: Sequence[str] = encoded.dictionary.to_pylist()
    return pa.array([translate(word) for word in words], pa.string()).take(encoded.indices)


def _anchor(values: pa.Array, problems: Problems, name: str) -> pa.FloatArray:
    """float32, null where unknown (null or NaN)."""
    rates = values.cast(pa.float32(), safe=False)
    numbers = rates.fill_null(float("nan")).to_numpy()
    outside = (numbers < 0) | (numbers > 1)
    problems.add(outside, lambda row: f"{name} is {numbers[row]:g}; a pass rate is in [0, 1]")
    return pa.array(numbers, mask=np.isnan(numbers) | outside)


def _level(values: pa.Array, problems: Problems) -> pa.Int32Array:
    if not pa.types.is_floating(values.type):
        return values.cast(pa.int32())
    numbers = values.fill_null(0).to_numpy()
    broken = numbers != np.round(numbers)
    problems.add(broken, lambda row: f"level is {numbers[row]:g}; it must be an integer")
    missing = values.is_null().to_numpy(zero_copy_only=False) | broken
    return pa.array(np.where(missing, 0, numbers).astype(np.int32), mask=missing)
