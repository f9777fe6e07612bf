"""Graders by name: built-in ones, the lab's, custom ones as `module:function`, and weighted sums of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from functools import cache
from typing import cast

from bots.graders import any_of, composite
from bots.graders.base import Grader
from bots.support import registry

BUILT_IN = registry.BUILT_IN["grader"]
"""Name → `module:function`. A module is imported only when its grader is resolved."""


class UnknownGraderError(ValueError):
    """A grader's name is neither built in nor an importable `module:function`."""


def names() -> list[str]:
    """The built-in graders' names, sorted."""
    return sorted(BUILT_IN)


@cache
def resolve(name: str) -> Grader:
    """The grader called `name`: a built-in one (`names()`), a custom `module:function`, a weighted sum of these
    (`0.9*math + 0.1*format_boxed`), or one for several accepted answers (`any_of:exact`).

    The same name gives the same function, so an import is paid for once.

    Raises:
        UnknownGraderError: no such name, module or function; the message lists the known names.
        ValueError: a sum that is not a weighted mean.
        ImportError: the grader's module exists, but something it imports does not.
    """
    parts = composite.parse(name)
    if parts is not None:
        return composite.Composite(tuple((weight, part, resolve(part)) for weight, part in parts))
    if name.startswith(any_of.PREFIX):
        return any_of.AnyOf(name, resolve(name.removeprefix(any_of.PREFIX)))
    module_name, attribute = _target(name)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise  # the grader's own module exists, but one of its imports is missing: report that
        raise UnknownGraderError(
            f"grader {name!r}: there is no module {error.name!r} on the path ({', '.join(sys.path[:3])}, …)"
        ) from error
    grader = getattr(module, attribute, None)
    if not callable(grader):
        raise UnknownGraderError(
            f"grader {name!r}: module {module_name!r} has no function {attribute!r} "
            f"(it has {', '.join(_functions(module)) or 'none'})"
        )
    return cast(Grader, grader)


def custom_parts(name: str) -> list[str]:
    """What `resolve` would import for a name besides built-in graders: the `module:function` in it, through sums and
    `any_of:`.

    Raises:
        UnknownGraderError: a part is neither built in nor a `module:function`. ValueError: as `resolve`.
    """
    parts = composite.parse(name)
    if parts is not None:
        return [custom for _, part in parts for custom in custom_parts(part)]
    if name.startswith(any_of.PREFIX):
        return custom_parts(name.removeprefix(any_of.PREFIX))
    if name in BUILT_IN:
        return []
    _target(name)
    return [name]


def preflight(graders: Iterable[str]) -> None:
    """Resolve every name and run the `preflight()` of each grader's module, which checks this machine.

    Raises what `resolve` raises and what the module's `preflight` raises (SandboxUnavailableError for `code`).
    """
    for name in graders:
        grader = resolve(name)
        if isinstance(grader, composite.Composite):
            preflight(part for _, part, _ in grader.parts)
            continue
        if isinstance(grader, any_of.AnyOf):
            preflight([name.removeprefix(any_of.PREFIX)])
            continue
        check = getattr(sys.modules.get(grader.__module__), "preflight", None)
        if check is not None:
            check()


def _target(name: str) -> tuple[str, str]:
    """Module and function that a name stands for."""
    module_name, colon, attribute = BUILT_IN.get(name, name).partition(":")
    if not (colon and module_name and attribute):
        raise UnknownGraderError(
            f"unknown grader {name!r}: the built-in graders are {', '.join(names())}; "
            "your own is named `module:function`"
        )
    return module_name, attribute


def _functions(module: object) -> list[str]:
    return sorted(k for k, v in vars(module).items() if callable(v) and not k.startswith("_"))[:20]
