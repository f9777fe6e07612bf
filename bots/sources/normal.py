"""From a source's own columns to the normal schema, on Arrow arrays, naming every row that does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bots.graders.registry import UnknownGraderError, names, resolve
from bots.sources import guru
from bots.sources.base import MESSAGES, NORMAL, Piece, SourceError
from bots.sources.config import SourceSettings
from bots.sources.hashing import content_ids

ROLES = ("system", "user", "assistant", "tool")
PROBLEM = "problem"
"""Extra column of a normalised piece: why a row is bad, null for a good one."""


@dataclass(frozen=True)
class Mapping:
    """Where each normal column of one source comes from.

    columns: normal name → the source's column, a dotted path for a field of a struct.
    guru: domain and grader follow GURU's `data_source`.
    """

    settings: SourceSettings
    columns: dict[str, str]
    guru: bool
    allowed_domains: tuple[str, ...] | None

    def wanted(self, schema: pa.Schema) -> list[str]:
        """The top-level columns that must be read."""
        paths = [*self.columns.values(), *self.settings.keep]
        if self.guru:
            paths.append(guru.SOURCE_COLUMN)
        tops = [path if path in schema.names else path.split(".")[0] for path in paths]
        return list(dict.fromkeys(tops))


def map_columns(
    schema: pa.Schema, settings: SourceSettings, name: str, allowed_domains: tuple[str, ...] | None = None
) -> Mapping:
    """Find the normal columns among a source's own.

    A column that `settings.columns` names must be there; others are found by their normal name or by GURU's.
    Raises SourceError for a missing prompt, answer, grader or named column, saying which columns there are,
    and for a type that cannot be used.
    """
    is_guru = guru.is_guru(schema)
    usual: dict[str, list[str]] = {column: [column] for column in NORMAL.names if column != "weight"}
    if is_guru:
        # GURU's own `domain` column is another partition than the one that selection and graders know.
        usual |= {
            "answer": [guru.ANSWER],
            "domain": [],
            "grader": [],
            "weak": [guru.WEAK],
            "strong": [guru.STRONG],
        }
    found: dict[str, str] = {}
    for column, candidates in usual.items():
        if column in ("domain", "grader") and getattr(settings, column) is not None:
            continue
        if column in settings.columns:
            candidates = [settings.columns[column]]
            if _type_of(schema, candidates[0]) is None:
                raise SourceError(
                    f"{name} has no column {candidates[0]!r} for {column}; it has {', '.join(schema.names)}"
                )
        for candidate in candidates:
            if _type_of(schema, candidate) is not None:
                found[column] = candidate
                break
    if ("weak" in found) != ("strong" in found):
        found.pop("weak", None), found.pop("strong", None)
    for column in ("prompt", "answer"):
        if column not in found:
            raise SourceError(
                f"{name} has no column {usual[column][0]!r} for the {column}; it has "
                f"{', '.join(schema.names)}. Say which one it is with `columns: {{{column}: NAME}}`"
            )
    for column in settings.keep:
        if column not in schema.names:
            raise SourceError(f"{name} has no column {column!r} to keep; it has {', '.join(schema.names)}")
        if column in (*NORMAL.names, PROBLEM):
            raise SourceError(f"{name}: keep {column!r} would replace the pool's own column of that name")
    if settings.grader is not None:
        check_grader(settings.grader)
    elif "grader" not in found and not is_guru:
        raise SourceError(
            f"{name} does not say which grader scores its answers: set `grader` to one of "
            f"{', '.join(names())} or to your own `module:function`"
        )
    mapping = Mapping(settings, found, is_guru, allowed_domains)
    _check_types(schema, mapping, name)
    return mapping


def check_grader(name: str) -> None:
    """Raise UnknownGraderError for a grader that there is none of. Built-in graders are not imported."""
    if name not in names():
        resolve(name)


def normalise(piece: Piece, mapping: Mapping) -> pa.Table:
    """The piece in the normal schema plus kept columns plus `problem` (string: why the row is bad, or null).

    No row is left out here. Raises SourceError only for what concerns a whole column.
    """
    settings, table = mapping.settings, piece.table
    rows = table.num_rows
    problems = _Problems(rows)
    for row, why in piece.broken.items():
        problems.add_one(row, why)
    missing = pa.nulls(rows)

    def column(name: str) -> pa.Array:
        return _column(table, mapping.columns[name]) if name in mapping.columns else missing

    prompt = _messages(column("prompt"), problems)
    answer = _text(column("answer"), problems, "answer")
    ids = content_ids(prompt, answer) if "id" not in mapping.columns else _text(column("id"), problems, "id")
    domain, grader = _domain_and_grader(table, mapping, column, problems)
    weak, strong = (_anchor(column(name), problems, name) for name in ("weak", "strong"))
    if settings.system is not None:
        prompt = _with_system(prompt, settings.system, problems)
    arrays = [ids, prompt, answer, domain, grader, _level(column("level"), problems), weak, strong]
    arrays.append(pa.array(np.full(rows, settings.weight, np.float32)))
    normal = pa.Table.from_arrays(arrays, schema=NORMAL)
    for name in settings.keep:
        normal = normal.append_column(name, table[name])
    return normal.append_column(PROBLEM, problems.column(piece))


@dataclass
class _Problems:
    """The first thing found wrong with each row."""

    rows: int
    why: dict[int, str] = field(default_factory=dict)

    def add(self, bad: npt.NDArray[np.bool_], why: Callable[[int], str] | str) -> None:
        for row in np.flatnonzero(bad):
            self.add_one(int(row), why if isinstance(why, str) else why(int(row)))

    def add_one(self, row: int, why: str) -> None:
        self.why.setdefault(row, why)

    def column(self, piece: Piece) -> pa.Array:
        if not self.why:
            return pa.nulls(self.rows, pa.string())
        said = [
            f"{piece.place(row)}: {self.why[row]}" if row in self.why else None for row in range(self.rows)
        ]
        return pa.array(said, pa.string())


def _type_of(schema: pa.Schema, path: str) -> pa.DataType | None:
    """Type of a column or, by a dotted path, of a field of a struct; None if there is none."""
    if path in schema.names:
        return schema.field(path).type
    top, *fields = path.split(".")
    if top not in schema.names:
        return None
    kind = schema.field(top).type
    for name in fields:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return None
        kind = kind.field(name).type
    return kind


def _column(table: pa.Table, path: str) -> pa.Array:
    if path in table.column_names:
        found = table[path]
    else:
        top, *fields = path.split(".")
        found = pc.struct_field(table[top], fields)
    found = found.combine_chunks()
    if pa.types.is_dictionary(found.type):
        found = found.cast(found.type.value_type)
    return found.cast(pa.string()) if pa.types.is_large_string(found.type) else found


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind))


def _is_messages(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    item = kind.value_type
    if not pa.types.is_struct(item):
        return False
    return all(item.get_field_index(n) >= 0 and _is_text(item.field(n).type) for n in ("role", "content"))


def _check_types(schema: pa.Schema, mapping: Mapping, name: str) -> None:
    allowed: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
        "id": (lambda t: _is_text(t) or pa.types.is_integer(t), "text or integers"),
        "prompt": (lambda t: _is_text(t) or _is_messages(t), "text or a list of {role, content}"),
        "answer": (lambda t: not pa.types.is_binary(t), "text, numbers or something with a JSON form"),
        "domain": (_is_text, "text"),
        "grader": (_is_text, "text"),
        "level": (_is_number, "integers"),
        "weak": (_is_number, "numbers in [0, 1]"),
        "strong": (_is_number, "numbers in [0, 1]"),
    }
    for column, path in list(mapping.columns.items()):
        kind = _type_of(schema, path)
        fits, wanted = allowed[column]
        if fits(kind):
            continue
        if column == "level" and column not in mapping.settings.columns:
            del mapping.columns[column]  # a column that only happens to have that name, such as "Level 3"
            continue
        raise SourceError(f"{name}: column {path!r} has type {kind}; the {column} must be {wanted}")


def _messages(prompt: pa.Array, problems: _Problems) -> pa.ListArray:
    """list<{role, content}> of a column of text (one user message) or of messages."""
    rows = len(prompt)
    missing = prompt.is_null().to_numpy(zero_copy_only=False)
    problems.add(missing, "the prompt is null")
    if not (pa.types.is_list(prompt.type) or pa.types.is_large_list(prompt.type)):
        contents = prompt.cast(pa.string()).fill_null("")
        roles = pa.repeat("user", rows)
        ends = np.arange(rows + 1, dtype=np.int32)
    else:
        items = prompt.flatten()
        contents = items.field("content").cast(pa.string())
        roles = items.field("role").cast(pa.string())
        ends = np.zeros(rows + 1, np.int32)
        np.cumsum(prompt.value_lengths().fill_null(0).to_numpy(), out=ends[1:])
        owner = np.repeat(np.arange(rows), np.diff(ends))
        problems.add(_any(owner, contents.is_null(), rows), "a message of the prompt has no content")
        unknown = pc.invert(pc.is_in(roles, value_set=pa.array(ROLES)))
        problems.add(_any(owner, unknown, rows), f"a message's role is none of {', '.join(ROLES)}")
    has_text = np.zeros(rows, bool)
    filled = pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(contents)), 0).fill_null(False)
    has_text[np.repeat(np.arange(rows), np.diff(ends))[filled.to_numpy(zero_copy_only=False)]] = True
    problems.add(~has_text & ~missing, "the prompt is empty")
    return _list_array(ends, roles, contents)


def _with_system(prompt: pa.ListArray, system: str, problems: _Problems) -> pa.ListArray:
    """The prompts with one more message in front of each."""
    ends = prompt.offsets.to_numpy().astype(np.int32)
    items = prompt.values
    roles, contents = items.field("role"), items.field("content")
    owner = np.repeat(np.arange(len(prompt)), np.diff(ends))
    problems.add(
        _any(owner, pc.equal(roles, "system"), len(prompt)),
        "the prompt has a system message of its own; leave `system` out for this source",
    )
    new_ends = ends + np.arange(len(ends), dtype=np.int32)
    order = np.full(new_ends[-1], len(items), np.int64)
    is_old = np.ones(new_ends[-1], bool)
    is_old[new_ends[:-1]] = False
    order[is_old] = np.arange(len(items))
    return _list_array(
        new_ends,
        pa.concat_arrays([roles, pa.array(["system"])]).take(pa.array(order)),
        pa.concat_arrays([contents, pa.array([system])]).take(pa.array(order)),
    )


def _list_array(ends: npt.NDArray[np.int32], roles: pa.Array, contents: pa.Array) -> pa.ListArray:
    items = pa.StructArray.from_arrays([roles, contents], fields=list(MESSAGES.value_type))
    return pa.ListArray.from_arrays(pa.array(ends), items, type=MESSAGES)


def _any(owner: npt.NDArray[np.int64], bad: pa.Array, rows: int) -> npt.NDArray[np.bool_]:
    """bool (rows,): whether any of a row's messages is bad."""
    found = np.zeros(rows, bool)
    found[owner[bad.fill_null(True).to_numpy(zero_copy_only=False)]] = True
    return found


def _text(values: pa.Array, problems: _Problems, what: str) -> pa.StringArray:
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
    table: pa.Table, mapping: Mapping, column: Callable[[str], pa.Array], problems: _Problems
) -> tuple[pa.StringArray, pa.StringArray]:
    settings, rows = mapping.settings, table.num_rows

    def constant(text: str) -> pa.Array:
        return pa.repeat(text, rows)

    domain = constant(settings.domain) if settings.domain else column("domain")
    grader = constant(settings.grader) if settings.grader else column("grader")
    if mapping.guru:
        sources = _column(table, guru.SOURCE_COLUMN)
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
    except UnknownGraderError as error:
        return str(error)
    return None


def _translate(values: pa.Array, translate: Callable[[str], str | None]) -> pa.StringArray:
    """Each distinct value is translated once."""
    encoded = values.dictionary_encode()
    words: Sequence[str] = encoded.dictionary.to_pylist()
    return pa.array([translate(word) for word in words], pa.string()).take(encoded.indices)


def _anchor(values: pa.Array, problems: _Problems, name: str) -> pa.FloatArray:
    """float32, null where unknown (null or NaN)."""
    rates = values.cast(pa.float32(), safe=False)
    numbers = rates.fill_null(float("nan")).to_numpy()
    outside = (numbers < 0) | (numbers > 1)
    problems.add(outside, lambda row: f"{name} is {numbers[row]:g}; a pass rate is in [0, 1]")
    return pa.array(numbers, mask=np.isnan(numbers) | outside)


def _level(values: pa.Array, problems: _Problems) -> pa.Int32Array:
    if not pa.types.is_floating(values.type):
        return values.cast(pa.int32())
    numbers = values.fill_null(0).to_numpy()
    broken = numbers != np.round(numbers)
    problems.add(broken, lambda row: f"level is {numbers[row]:g}; it must be an integer")
    missing = values.is_null().to_numpy(zero_copy_only=False) | broken
    return pa.array(np.where(missing, 0, numbers).astype(np.int32), mask=missing)
