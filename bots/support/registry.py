"""Names of plug-ins: a built-in name, or "module:Class" for a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TypeVar

T = TypeVar("T")


def load_class(kind: str, name: str, built_in: Mapping[str, str], base: type[T]) -> type[T]:
    """The class behind a plug-in's name, imported only now.

    kind: what to call it in errors, e.g. "evidence".
    name: a key of `built_in`, or "module:Class".
    built_in: name → "module:Class".
    base: the class that it must derive from.
    Raises ValueError for an unknown name, a module or class that is not there, or a class of another kind.
    """
    target = built_in.get(name, name)
    module_name, _, class_name = target.partition(":")
    if not class_name:
        known = ", ".join(sorted(built_in))
        raise ValueError(f'unknown {kind} {name!r}; known are {known}, or "module:Class" for your own')
    try:
        found = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{kind} {name!r} cannot be loaded: {error}") from error
    if isinstance(found, type) and issubclass(found, base):
        return found
    raise ValueError(f"{kind} {name!r} is not a subclass of {base.__name__}")
