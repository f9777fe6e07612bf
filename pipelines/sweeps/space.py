"""The search space of a sweep: ranges for keys of a job, checked value by value before Ray starts."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from pydantic import model_validator
from ray import tune

from bots.config.tree import ConfigError, Section
from bots.evidence import Evidence
from bots.support.registry import load_class

MOST_POINTS = 2_000
"""A grid with up to this many points is checked completely; of larger ones each value is checked alone."""


class Range(Section):
    """The range of one key; exactly one of the four.

    A list in YAML is short for `values`.
    """

    values: list[Any] | None = None
    """These values, in order in a grid."""
    uniform: tuple[float, float] | None = None
    """Any number between the two."""
    loguniform: tuple[float, float] | None = None
    """The same, uniform on a logarithmic scale; the first must be above 0."""
    integer: tuple[int, int] | None = None
    """Any integer between the two, inclusive."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        return {"values": given} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _not_empty(self) -> Range:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise ValueError(
                f"holds {', '.join(given) or 'nothing'}; give exactly one of values, uniform, loguniform, integer"
            )
        if self.values is not None:
            if not self.values:
                raise ValueError("values is empty; give at least one")
            if len({repr(value) for value in self.values}) < len(self.values):
                raise ValueError(f"values is {self.values}; each may be there once")
            return self
        (kind, (low, high)) = next(iter(given.items()))
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"{kind} is [{low}, {high}], an empty range; the second must be above the first")
        if kind == "loguniform" and low <= 0:
            raise ValueError(f"loguniform is [{low}, {high}]; the first must be above 0")
        return self

    @property
    def samples(self) -> list[Any]:
        """All values of a discrete range, the bounds of a continuous one."""
        bounds = self.uniform or self.loguniform or self.integer
        return list(self.values) if self.values is not None else list(bounds or ())

    def domain(self, grid: bool) -> Any:
        """The range for Ray Tune: a sampling domain, or a grid search."""
        if self.values is not None:
            return tune.grid_search(self.values) if grid else tune.choice(self.values)
        if self.uniform:
            return tune.uniform(*self.uniform)
        if self.loguniform:
            return tune.loguniform(*self.loguniform)
        low, high = self.integer or (0, 0)
        return tune.randint(low, high + 1)

    def holds(self, value: Any) -> bool:
        """Whether the value is in the range."""
        if self.values is not None:
            return value in self.values
        low, high = self.samples
        return isinstance(value, int | float) and low <= value <= high

    def nearest(self, value: Any) -> Any:
        """The value, clipped to the range."""
        if self.values is not None:
            return value
        low, high = self.samples
        return min(max(value, low), high)


Space = Mapping[str, Range]


def lay(tree: dict[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration tree with `section.key: value` pairs applied."""
    tree = deepcopy(tree)
    for key, value in point.items():
        *path, last = key.split(".")
        node: Any = tree
        for depth, name in enumerate(path):
            if isinstance(node, dict) and node.get(name) is None:
                node[name] = {}
            try:
                node = node[int(name)] if isinstance(node, list) else node[name]
            except (ValueError, IndexError) as error:
                raise ConfigError(f"{key}: there is no {'.'.join(path[: depth + 1])}") from error
            if not isinstance(node, dict | list):
                raise ConfigError(f"{key}: {'.'.join(path[: depth + 1])} is a value, not a section")
        node[int(last) if isinstance(node, list) else last] = value
    return tree


def value_at(tree: Mapping[str, Any], key: str) -> Any:
    """The value at `section.key` in a resolved tree; None if there is none."""
    node: Any = tree
    for name in key.split("."):
        # Some keys' values may be a word or a section (selection.prior).
        inside = node.get(name) if isinstance(node, Mapping) else None
        node = node[int(name)] if isinstance(node, list) else inside
    return node


def points(space: Space) -> Iterator[dict[str, Any]]:
    """The points that are checked before the sweep starts.

    Up to `MOST_POINTS`, every combination of discrete values and range bounds; in a larger space, each value with the
    other keys at their first value.
    """
    samples = {key: one.samples for key, one in space.items()}
    if math.prod(len(values) for values in samples.values()) <= MOST_POINTS:
        for combination in itertools.product(*samples.values()):
            yield dict(zip(samples, combination, strict=True))
        return
    first = {key: values[0] for key, values in samples.items()}
    for key, values in samples.items():
        for value in values:
            yield {**first, key: value}


def check(space: Space, tree: dict[str, Any], build: Callable[[dict[str, Any]], Any]) -> None:
    """Raise ConfigError, naming it, for a key or value that the job would refuse.

    build: creates the job's configuration from a tree or raises ConfigError.
    """
    base = build(tree)
    for key, one in space.items():
        if key.startswith("run.") and key.split(".")[1] in ("name", "folder"):
            raise ConfigError(f"space.{key}: the sweep names its trials itself")
        for value in one.samples:
            try:
                build(lay(tree, {key: value}))
            except ConfigError as error:
                # An error of another key comes from the combination; combinations are checked below.
                if key in str(error):
                    raise ConfigError(f"space.{key}: {value!r} is not possible: {error}") from None
    for point in points(space):
        try:
            built = build(lay(tree, point))
        except ConfigError as error:
            said = ", ".join(f"{key}={value}" for key, value in point.items())
            raise ConfigError(f"space: the point {said} is not possible: {error}") from None
    _check_evidence_options(space, built if space else base)


def _check_evidence_options(space: Space, built: Any) -> None:
    """Check options of an evidence plug-in against its constructor."""
    prefix = "selection.evidence_options."
    names = [key.removeprefix(prefix) for key in space if key.startswith(prefix)]
    if not names:
        return
    evidence = built.selection.evidence
    cls = load_class("evidence", evidence, Evidence)  # type: ignore[type-abstract]
    allowed = [name for name in inspect.signature(cls).parameters if name != "pool"]
    for name in names:
        if name not in allowed:
            raise ConfigError(
                f"space.{prefix}{name}: no such key; evidence {evidence!r} takes {', '.join(allowed) or 'none'}"
            )
