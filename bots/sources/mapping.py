"""Which of a source's own columns are the normal ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bots.config.pool import SourceSettings
from bots.graders.registry import custom_parts, names, resolve
from bots.sources import guru
from bots.sources.base import NORMAL, PROBLEM, SET, SourceError
from bots.sources.recipes import TURNED, Recipe, recipe_of


@dataclass(frozen=True)
class Mapping:
    """Where each normal column of one source comes from.

    columns: normal name → the source's column, a dotted path for a field of a struct.
    guru: domain and grader follow GURU's `data_source`. recipe: the form of a published data set that it is of.
    trusted_graders: functions that a row may name as its grader, besides the built-in ones.
    """

    settings: SourceSettings
    columns: dict[str, str]
    guru: bool
    allowed_domains: tuple[str, ...] | None
    recipe: Recipe | None = None
    trusted_graders: frozenset[str] = frozenset()

    def wanted(self, schema: pa.Schema) -> list[str]:
        """The top-level columns that must be read."""
        paths = [*self.columns.values(), *self.settings.keep]
        if self.guru:
            paths.append(guru.SOURCE_COLUMN)
        if self.recipe is not None and self.recipe.turn is not None:
            turned = [path for name, path in self.columns.items() if name not in TURNED]
            paths = [*turned, *self.settings.keep, *self.recipe.inputs(schema.names)]
        tops = [path if path in schema.names else path.split(".")[0] for path in paths]
        return list(dict.fromkeys(tops))


def map_columns(
    schema: pa.Schema,
    settings: SourceSettings,
    name: str,
    allowed_domains: tuple[str, ...] | None = None,
    peek: Callable[[str], list[Any]] | None = None,
    trusted_graders: frozenset[str] = frozenset(),
) -> Mapping:
    """Find the normal columns among a source's own.

    A column that `settings.columns` names must be there; others are found by their normal name, by GURU's, or by those
    of a published data set (`bots.sources.recipes`). peek: the first values of a column, where the names alone don't
    tell which data set it is.
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
    recipe = None if is_guru else _recipe(schema, settings, peek)
    if recipe is not None:
        usual |= {column: list(choice) for column, choice in recipe.columns.items()}
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
    if recipe is not None and recipe.turn is not None:
        found |= {column: column for column in TURNED}
    for column in ("prompt", "answer"):
        if column not in found:
            raise SourceError(
                f"{name} has no column {usual[column][0]!r} for the {column}; it has "
                f"{', '.join(schema.names)}. Say which one it is with `columns: {{{column}: NAME}}`"
            )
    for column in settings.keep:
        if column not in schema.names:
            raise SourceError(f"{name} has no column {column!r} to keep; it has {', '.join(schema.names)}")
        own = (*NORMAL.names, PROBLEM) + ((SET,) if settings.set is not None else ())
        if column in own or (column in TURNED and column in found):
            raise SourceError(f"{name}: keep {column!r} would replace the pool's own column of that name")
    if settings.grader is not None:
        check_grader(settings.grader)
    elif "grader" not in found and not is_guru and recipe is None:
        raise SourceError(
            f"{name} does not say which grader scores its completions: set `grader` to one of "
            f"{', '.join(names())} or to your own `module:function`"
        )
    mapping = Mapping(settings, found, is_guru, allowed_domains, recipe, trusted_graders)
    _check_types(schema, mapping, name)
    return mapping


def _recipe(
    schema: pa.Schema, settings: SourceSettings, peek: Callable[[str], list[Any]] | None
) -> Recipe | None:
    """The published data set that a source is of, unless its columns are the normal ones or are named."""
    if {"prompt", "answer"} <= set(schema.names) or {"prompt", "answer"} & settings.columns.keys():
        return None
    recipe = recipe_of(schema)
    if recipe is None or not recipe.marked:
        return recipe
    answers = peek("answer") if peek is not None else []
    return recipe if answers and all(isinstance(a, str) and "####" in a for a in answers) else None


def check_grader(name: str) -> None:
    """Raise UnknownGraderError for a grader that there is none of. Built-in graders are not imported."""
    if name not in names():
        resolve(name)


def grader_fault(name: str, trusted: frozenset[str]) -> str | None:
    """Why a row may not name this grader; None if it may. A function that the configuration does not name is not even
    imported: importing runs its module."""
    try:
        untrusted = [part for part in custom_parts(name) if part not in trusted]
        if not untrusted:
            check_grader(name)
            return None
    except (ValueError, ImportError) as error:
        return str(error)
    return (
        f"its grader {untrusted[0]!r} is named by the file alone, and a file may only choose built-in graders, since "
        f"graders run outside the sandbox. If you trust this function, set the pool's `graders: ['{untrusted[0]}']`"
    )


def column_at(table: pa.Table, path: str) -> pa.Array:
    """A column or, by a dotted path, a field of a struct, in one chunk; plain strings where it was encoded or large."""
    if path in table.column_names:
        found = table[path]
    else:
        top, *fields = path.split(".")
        found = pc.struct_field(table[top], fields)
    found = found.combine_chunks()
    if pa.types.is_dictionary(found.type):
        found = found.cast(found.type.value_type)
    return found.cast(pa.string()) if pa.types.is_large_string(found.type) else found


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


def is_text(kind: pa.DataType) -> bool:
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
    return all(item.get_field_index(n) >= 0 and is_text(item.field(n).type) for n in ("role", "content"))


def _check_types(schema: pa.Schema, mapping: Mapping, name: str) -> None:
    allowed: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
        "id": (lambda t: is_text(t) or pa.types.is_integer(t), "text or integers"),
        "prompt": (lambda t: is_text(t) or _is_messages(t), "text or a list of {role, content}"),
        "answer": (lambda t: not pa.types.is_binary(t), "text, numbers or something with a JSON form"),
        "domain": (is_text, "text"),
        "grader": (is_text, "text"),
        "level": (_is_number, "integers"),
        "weak": (_is_number, "numbers in [0, 1]"),
        "strong": (_is_number, "numbers in [0, 1]"),
    }
    turned = TURNED if mapping.recipe is not None and mapping.recipe.turn is not None else ()
    for column, path in list(mapping.columns.items()):
        if column in turned:
            continue
        kind = _type_of(schema, path)
        fits, wanted = allowed[column]
        if fits(kind):
            continue
        if column == "level" and mapping.recipe is not None and is_text(kind):
            continue  # "Level 3"
        if column == "level" and column not in mapping.settings.columns:
            del mapping.columns[column]  # a column that only happens to have that name, such as "Level 3"
            continue
        raise SourceError(f"{name}: column {path!r} has type {kind}; the {column} must be {wanted}")
