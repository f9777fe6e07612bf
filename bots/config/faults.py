"""What is wrong with a configuration, one line for each fault: the key as a user writes it, and the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

LONGEST_VALUE = 120
"""Characters of a value that a line shows."""


def faults(kind: type[BaseModel], tree: Any, error: ValidationError) -> list[str]:
    """The lines for all that pydantic found in a tree of this kind."""
    return [
        f"  {line}"
        for found in error.errors()
        # Items at fault are left out of their list, which is then too short: the items have lines of their own.
        if not (found["type"] == "too_short" and len(found["input"]) > found["ctx"]["actual_length"])
        for line in _lines(kind, tree, found)
    ]


def _lines(kind: type[BaseModel], tree: Any, error: Any) -> Iterator[str]:
    path = _path(tree, error)
    key = ".".join(path)
    given = error["input"]
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        yield f"{key}: no such key{_instead(kind, path)}"
    elif error["type"] == "missing" and path and path[-1].isdecimal():
        yield f"{key}: is missing; {'.'.join(path[:-1])} has more values"
    elif error["type"] == "missing":
        yield f"{key}: is required and has no default"
    elif error["type"] in ("model_type", "dict_type", "model_attributes_type"):
        yield f"{key}: must be a section; `{{}}` has its defaults (it is {_shown(given)})"
    elif error["type"] in ("tuple_type", "list_type"):
        yield f"{key}: must be a list, such as [{given}] (it is {_shown(given)})"
    elif error["type"] == "string_type" and isinstance(given, int | float | date):
        yield f"{key}: must be text; put it in quotes (it is {given})"
    elif error["type"] == "union_tag_not_found":
        yield f"{key}: has neither a kind nor a path as text that says it (it is {_shown(given)})"
    else:
        message = error["msg"].removeprefix("Value error, ")
        # What is wrong between the keys of a section is said in the message, with their values.
        own_words = error["type"] == "value_error" and isinstance(given, dict | list)
        value = "" if own_words else f" (it is {_shown(given)})"
        said = f"{message[0].lower()}{message[1:]}{value}"
        yield f"{key}: {said}" if key else said


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"


def _path(tree: Any, error: Any) -> list[str]:
    """The place of a fault, without pydantic's names of a union's members (`tuple[…]`, `lab`), which nobody wrote."""
    parts, node = [], tree
    for place, part in enumerate(error["loc"]):
        last = place + 1 == len(error["loc"])
        is_member = isinstance(part, str) and bool(set(part) & set("[("))
        if isinstance(node, Mapping) and part not in node and not (last and error["type"] == "missing"):
            is_member = True
        if is_member:
            continue
        parts.append(str(part))
        if isinstance(node, Mapping):
            node = node.get(part)
        elif isinstance(node, list | tuple) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            node = None
    return parts


def _instead(kind: type[BaseModel], path: list[str]) -> str:
    """The key that was meant, or else all keys of its section."""
    *where, name = [part for part in path if not part.isdecimal()]
    written = path[:-1]
    known = dict(_keys(kind, ()))
    here = known.get(tuple(where), ())
    by_lower = {key.lower(): key for key in here}
    if by_lower.get(name.lower()) == name:
        return " for this kind"
    near = [name.lower()] if name.lower() in by_lower else get_close_matches(name.lower(), by_lower, n=1)
    if near:
        return f"; did you mean {'.'.join((*written, by_lower[near[0]]))}?"
    elsewhere = [".".join((*section, name)) for section, keys in known.items() if name in keys]
    if len(elsewhere) == 1:
        return f"; did you mean {elsewhere[0]}?"
    return f"; there are {', '.join(here)}" if here else ""


def _keys(kind: type[Any], where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Each section's path with its keys; the members of a union, such as the kinds of sources, are taken together."""
    if is_dataclass(kind):
        yield where, tuple(field.name for field in fields(kind))
        return
    found: dict[tuple[str, ...], tuple[str, ...]] = {where: tuple(kind.model_fields)}
    for name, field in kind.model_fields.items():
        for section in _sections(field.annotation):
            for path, keys in _keys(section, (*where, name)):
                found[path] = tuple(dict.fromkeys((*found.get(path, ()), *keys)))
    yield from found.items()


def _sections(annotation: Any) -> Iterator[type[Any]]:
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from _sections(part)
