"""From a source's own columns to the normal schema, on Arrow arrays, naming every row that does not fit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bots.graders.any_of import PREFIX as ANY_OF
from bots.sources import guru
from bots.sources.answers import contentless, final_part, final_parts, is_contentless
from bots.sources.base import NORMAL, PROBLEM, REPEATED, SET, Piece
from bots.sources.hashing import content_ids
from bots.sources.mapping import Mapping, column_at, grader_fault, is_text
from bots.sources.messages import messages_of, with_system
from bots.sources.problems import Problems
from bots.sources.recipes import TURNED, Recipe

ANSWERED_BY_ONE = re.compile(r"math|exact")
"""Graders that take one answer, so that a list is of several accepted ones."""


def normalise(piece: Piece, mapping: Mapping) -> pa.Table:
    """The piece in the normal schema, kept columns, `solution` where the data set has one, `repeated` (bool: see
    `bots.sources.base`) and `problem` (string: why the row is bad, or null).

    No row is left out here. Raises SourceError only for what concerns a whole column.
    """
    settings, table = mapping.settings, piece.table
    rows = table.num_rows
    problems = Problems(rows)
    for row, why in piece.broken.items():
        problems.add_one(row, why)
    missing = pa.nulls(rows)

    recipe = mapping.recipe
    turned = _turned(table, recipe) if recipe is not None and recipe.turn is not None else {}

    def column(name: str) -> pa.Array:
        if name in turned:
            return turned[name]
        return column_at(table, mapping.columns[name]) if name in mapping.columns else missing

    prompt = messages_of(column("prompt"), problems)
    domain, grader = _domain_and_grader(table, mapping, column, problems)
    answer, grader = _answers(column("answer"), grader, problems)
    ids = content_ids(prompt, answer) if "id" not in mapping.columns else _text(column("id"), problems, "id")
    weak, strong = (_anchor(column(name), problems, name) for name in ("weak", "strong"))
    if settings.system is not None:
        prompt = with_system(prompt, settings.system, problems)
    arrays = [ids, prompt, answer, domain, grader, _level(column("level"), problems), weak, strong]
    arrays.append(pa.array(np.full(rows, settings.weight, np.float32)))
    normal = pa.Table.from_arrays(arrays, schema=NORMAL)
    for name in settings.keep:
        normal = normal.append_column(name, table[name])
    if settings.set is not None:
        normal = normal.append_column(SET, pa.repeat(settings.set, rows))
    if turned:
        normal = normal.append_column("solution", turned["solution"])
    normal = normal.append_column(REPEATED, _repeated(table, mapping))
    return normal.append_column(PROBLEM, problems.column(piece))


def _turned(table: pa.Table, recipe: Recipe) -> dict[str, pa.Array]:
    """The columns that a data set's form makes of others, as text."""
    inputs = {name: table[name].to_pylist() for name in recipe.inputs(table.column_names)}
    made = recipe.turn(inputs) if recipe.turn is not None else {}
    return {name: pa.array(made[name], pa.string()) for name in TURNED}


def _repeated(table: pa.Table, mapping: Mapping) -> pa.Array:
    if not mapping.guru:
        return pa.repeat(False, table.num_rows)
    encoded = column_at(table, guru.SOURCE_COLUMN).fill_null("").dictionary_encode()
    named = pa.array([guru.is_repeated(word) for word in encoded.dictionary.to_pylist()], pa.bool_())
    return named.take(encoded.indices)


def _answers(
    values: pa.Array, grader: pa.StringArray, problems: Problems
) -> tuple[pa.StringArray, pa.StringArray]:
    """The answers as the graders take them, and the graders: several accepted answers go to `any_of`."""
    if (pa.types.is_list(values.type) or pa.types.is_large_list(values.type)) and is_text(
        values.type.value_type
    ):
        answer, grader = _accepted(values, grader, problems)
    else:
        answer = _text(values, problems, "answer")
        worked = pc.match_substring_regex(grader, r"\bmath\b").fill_null(False)
        if pc.any(worked).as_py():
            whole, answer = answer, pc.if_else(worked, final_parts(answer), answer)
            lost = pc.and_(pc.equal(answer, ""), pc.not_equal(whole, "")).fill_null(False)
            problems.add(lost.to_numpy(zero_copy_only=False), "nothing stands after the answer's ####")
    compared = pc.match_substring_regex(grader, r"\b(math|exact)\b").fill_null(False)
    bare = contentless(answer) & compared.to_numpy(zero_copy_only=False)
    problems.add(
        bare, lambda row: f"the answer {answer[row].as_py()!r} has no content: an empty one would equal it"
    )
    return answer, grader


def _accepted(
    values: pa.Array, grader: pa.StringArray, problems: Problems
) -> tuple[pa.StringArray, pa.StringArray]:
    """Rows with one accepted answer have it as their answer; those with several a JSON list, for `any_of:GRADER`."""
    texts: list[str | None] = []
    graders: list[str | None] = []
    for row, (accepted, name) in enumerate(zip(values.to_pylist(), grader.to_pylist(), strict=True)):
        if name is None or ANSWERED_BY_ONE.fullmatch(name) is None:
            texts.append(None if accepted is None else json.dumps(accepted, ensure_ascii=False))
            graders.append(name)
            continue
        is_math = name.endswith("math")
        whole = [
            final_part(text) if is_math else text
            for text in accepted or ()
            if text is not None and text.strip()
        ]
        bare = [text for text in whole if is_contentless(text)]
        distinct = list(dict.fromkeys(whole))
        if not distinct:
            problems.add_one(row, "the answer is null" if not accepted else "the answer is empty")
        if bare:
            problems.add_one(row, f"the answer {bare[0]!r} has no content: an empty one would equal it")
        texts.append(json.dumps(distinct, ensure_ascii=False) if len(distinct) > 1 else "".join(distinct))
        graders.append(f"{ANY_OF}{name}" if len(distinct) > 1 else name)
    return pa.array(texts, pa.string()), pa.array(graders, pa.string())


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
        known, graded = _translate(sources, guru.domain_of), _translate(sources, guru.grader_of)
        unknown = known.is_null().to_numpy(zero_copy_only=False)
        if settings.domain is None and "domain" not in mapping.columns:
            domain = known
            problems.add(
                unknown, lambda r: f"unknown domain: data_source is {sources[r].as_py()!r}; set `domain`"
            )
        if settings.grader is None and "grader" not in mapping.columns:
            grader = graded
            problems.add(unknown, lambda r: f"no grader for data_source {sources[r].as_py()!r}; set `grader`")
    elif settings.domain is None and "domain" not in mapping.columns:
        domain = constant("default" if mapping.recipe is None else mapping.recipe.domain)
    if mapping.recipe is not None and settings.grader is None and "grader" not in mapping.columns:
        grader = constant(mapping.recipe.grader)
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
        faults = {
            name: grader_fault(name, mapping.trusted_graders)
            for name in grader.unique().drop_null().to_pylist()
        }
        for name, fault in faults.items():
            if fault is not None:
                problems.add(pc.equal(grader, name).fill_null(False).to_numpy(zero_copy_only=False), fault)
    return domain, grader


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
    if pa.types.is_string(values.type):  # "Level 3", "Level ?"
        digits = pc.struct_field(pc.extract_regex(values, r"^(?:Level )?(?P<level>\d{1,9})$"), "level")
        return digits.cast(pa.int32())
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        return values.cast(pa.int32())
    numbers = values.fill_null(0).to_numpy().astype(np.float64)
    broken = (numbers != np.round(numbers)) | (np.abs(numbers) > np.iinfo(np.int32).max)
    problems.add(broken, lambda row: f"level is {numbers[row]:g}; it must be an integer of 32 bits")
    missing = values.is_null().to_numpy(zero_copy_only=False) | broken
    return pa.array(np.where(missing, 0, numbers).astype(np.int32), mask=missing)
