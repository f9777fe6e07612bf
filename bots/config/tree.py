"""Typed configuration trees: a YAML file, dotted overrides laid over it, and a check that names every fault."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ConfigError(ValueError):
    """A configuration that cannot run, naming each offending key, its value and what is allowed."""


class Section(BaseModel):
    """Base of every section: unknown keys are refused, values are immutable once checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


C = TypeVar("C", bound=Section)


def read_tree(path: str | Path, overrides: list[str]) -> dict[str, Any]:
    """The YAML file's tree with the overrides laid over it, unchecked."""
    if not Path(path).is_file():
        raise ConfigError(f"no such configuration file: {path}")
    try:
        # Bytes: YAML has rules of its own for encodings, and says where one is broken.
        tree = yaml.safe_load(Path(path).read_bytes())
    except (yaml.YAMLError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds {type(tree).__name__}, not sections with keys")
    for override in overrides:
        _lay_over(tree, override)
    return tree


def parse_config(kind: type[C], tree: dict[str, Any], source: str) -> C:
    """Check a tree against a section's schema; pydantic's faults become one ConfigError."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}:\n" + "\n".join(_fault(e) for e in error.errors())) from None


def dump_config(config: Section) -> str:
    """The resolved configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_value(override: str) -> tuple[str, Any]:
    """Key and value of `section.key=value`. Raises ConfigError for another form and for what is not YAML."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")) or "." not in key:
        raise ConfigError(f"override {override!r} is not of the form section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: its value is not YAML: {error}") from error
    # YAML 1.1 reads 1e-6 as text; a number was meant, unless it stands in quotes.
    if isinstance(value, str) and text.strip()[:1] not in ("'", '"'):
        with contextlib.suppress(ValueError):
            value = float(value)
    return key, value


def _lay_over(tree: dict[str, Any], override: str) -> None:
    key, value = read_value(override)
    *path, last = key.split(".")
    node: Any = tree
    for depth, name in enumerate(path):
        node = node[_place(node, name, override)] if isinstance(node, list) else node.setdefault(name, {})
        if not isinstance(node, dict | list):
            raise ConfigError(
                f"override {override!r}: {'.'.join(path[: depth + 1])} is a value, not a section"
            )
    node[_place(node, last, override) if isinstance(node, list) else last] = value


def _place(items: list[Any], name: str, override: str) -> int:
    if not name.isdecimal() or int(name) >= len(items):
        raise ConfigError(
            f"override {override!r}: {name!r} is no place in a list of {len(items)}; they are counted from 0"
        )
    return int(name)


def _fault(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "(whole)"
    if error["type"] == "extra_forbidden":
        return f"  {key}: no such key"
    if error["type"] == "missing":
        return f"  {key}: is required and has no default"
    message = error["msg"].removeprefix("Value error, ")
    value = "" if error["loc"] == () else f" (it is {error['input']!r})"
    return f"  {key}: {message[0].lower()}{message[1:]}{value}"
