"""Typed configuration trees: a YAML file, dotted overrides laid over it, and a check that names every fault."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)

from bots.config.faults import faults
from bots.config.yaml_text import DuplicateKeyError, read_yaml, read_yaml_file
from bots.support import registry

AS_FILE = {"as_file": True}
"""Serialization context of what is read back, where a key that was filled in may mean something else than one given."""
LONGEST_NAME = 200
"""Bytes of a folder's name: file systems take 255, and locks and temporary files beside it have longer names."""


def _folder_name(name: str) -> str:
    """A name that is one folder's, in any file system and in Ray's names."""
    fault = None
    if not name.strip():
        fault = "is empty"
    elif name in (".", "..") or set(name) & set("/\\"):
        fault = "is a path"
    elif not name.isprintable() or name != name.strip():
        fault = "has blanks around it, or characters that can't be printed"
    elif name.startswith(("-", "~", ".")):
        fault = f"begins with {name[0]!r}"
    elif len(name.encode()) > LONGEST_NAME:
        fault = f"has more than {LONGEST_NAME} bytes"
    if fault:
        raise ValueError(f"{fault}; it must name one folder, for example lab-2")
    return name


def _expanded(path: Any) -> Any:
    """A path of a user with `~` written out, as a shell would. Refuses what no file system takes."""
    if isinstance(path, str) and (not path.strip() or "\0" in path):
        raise ValueError("is empty" if not path.strip() else "has a NUL character in it")
    if not isinstance(path, str | Path) or not str(path).startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if str(expanded).startswith("~"):
        raise ValueError("begins with ~, but there is no such home folder")
    return expanded


Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FolderName = Annotated[str, AfterValidator(_folder_name)]
"""A text that becomes the name of one folder."""
UserPath = Annotated[Path, BeforeValidator(_expanded)]
"""A path in which `~` is the user's home."""
UserPathText = Annotated[str, BeforeValidator(_expanded)]
"""The same for what may be something else than a path, such as a hub's name or an address."""


class ConfigError(ValueError):
    """A configuration that cannot run, naming each offending key, its value and what is allowed."""


def _not_a_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004 (pydantic's kind of error)
    return value


def _without_booleans(schema: Any, resolve: Callable[[Any], Any]) -> Any:
    """pydantic's schema with every number refusing true and false, which it would take for 1 and 0.

    resolve: gives the schema that a reference means, as those of dataclasses inside a section.
    """
    if isinstance(schema, list):
        return [_without_booleans(part, resolve) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "function-before" and schema["function"].get("function") is _not_a_truth_value:
        return schema
    if schema.get("type") == "definition-ref":
        meant = resolve(schema)
        if meant["type"] != "dataclass":
            return schema  # a section, which has been here itself
        schema = {key: part for key, part in meant.items() if key != "ref"}
    inner = {
        key: _without_booleans(part, resolve) if key != "metadata" else part for key, part in schema.items()
    }
    numbers = schema.get("type") in ("int", "float") or (
        schema.get("type") == "literal" and all(type(value) is int for value in schema["expected"])
    )
    if numbers and "serialization" not in schema:
        check = {"type": "no-info", "function": _not_a_truth_value}
        return {"type": "function-before", "function": check, "schema": inner}
    return inner


class Section(BaseModel):
    """Base of every section: unknown keys are refused, values are immutable once checked.

    `none` means None wherever None is allowed, as the keys' descriptions say it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return _without_booleans(handler(source), handler.resolve_ref_schema)

    @model_validator(mode="before")
    @classmethod
    def _none_by_name(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        fields = cls.model_fields
        return {
            key: None
            if isinstance(value, str) and value.lower() == "none" and key in fields and _optional(fields[key])
            else value
            for key, value in given.items()
        }


def _optional(field: Any) -> bool:
    return type(None) in get_args(field.annotation)


def _own_resource(resources: dict[str, float]) -> dict[str, float]:
    for name in resources:
        if name in ("CPU", "GPU", "memory", "object_store_memory") or not name.strip():
            raise ValueError(
                f"names {name!r}; CPUs and GPUs are the keys cpus and gpus, and others must be named as their nodes "
                "offer them"
            )
    return resources


Resources = Annotated[dict[str, Positive], AfterValidator(_own_resource)]
"""Amounts of Ray's custom resources by name."""
C = TypeVar("C", bound=Section)


def plug_in(kind: str) -> AfterValidator:
    """Checks for a name of this kind listed in `bots.support.registry`, or "module:attribute"."""

    def check(name: str) -> str:
        if name not in registry.names(kind) and not all(name.partition(":")):
            known = ", ".join(map(repr, registry.names(kind)))
            raise ValueError(f"must be {known}, or 'module:attribute' for your own")
        return name

    return AfterValidator(check)


def read_tree(path: str | Path, overrides: list[str]) -> dict[str, Any]:
    """The YAML file's tree with the overrides laid over it, unchecked."""
    if not Path(path).is_file():
        raise ConfigError(f"no such configuration file: {path}")
    try:
        tree = read_yaml_file(path)
    except DuplicateKeyError as error:
        raise ConfigError(f"{path}: {error}") from error
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
        raise ConfigError("\n".join((f"{source}:", *faults(kind, tree, error)))) from None


def dump_config(config: Section) -> str:
    """The resolved configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(tree_of(config), sort_keys=False, allow_unicode=True)


def tree_of(config: Section) -> dict[str, Any]:
    """The resolved configuration as a tree that `parse_config` reads back."""
    return config.model_dump(mode="json", context=AS_FILE)


def read_value(override: str) -> tuple[str, Any]:
    """Key and value of `section.key=value`. Raises ConfigError for another form and for what is not YAML."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")) or "." not in key:
        raise ConfigError(f"override {override!r} is not of the form section.key=value")
    try:
        return key, read_yaml(text)
    except DuplicateKeyError as error:
        raise ConfigError(f"override {override!r}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: its value is not YAML: {error}") from error


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
