"""YAML as this project reads it: the same scalar means the same in a file, in `{…}` and on the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml


class DuplicateKeyError(yaml.YAMLError):
    """A key that stands twice in one mapping: YAML would silently take the last."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, except that 1e-6 is a number, as in YAML 1.2."""


# The resolver of YAML 1.1 asks for a point and a sign in an exponent, and leaves 1e-6 a text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(text: str | bytes) -> Any:
    """The value of a YAML document, or of one scalar or `{…}` of the command line.

    Raises yaml.YAMLError for what is not YAML, and DuplicateKeyError for a key that stands twice.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        # Of the text as it stands, before merge keys (`<<`) bring in keys that others may override.
        _refuse_repeated(node, (), set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def read_yaml_file(path: str | Path) -> Any:
    """The value of a YAML file. Bytes: YAML has rules of its own for encodings, and says where one is broken."""
    return read_yaml(Path(path).read_bytes())


def _refuse_repeated(node: yaml.Node, path: tuple[str, ...], done: set[int]) -> None:
    if id(node) in done:  # an alias
        return
    done.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            _refuse_repeated(item, (*path, str(place)), done)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            name = (key.tag, str(key.value))
            line = key.start_mark.line + 1
            here = (*path, str(key.value))
            if name in lines and isinstance(key, yaml.ScalarNode):
                where = f"line {line}" if lines[name] == line else f"line {lines[name]} and line {line}"
                raise DuplicateKeyError(f"{'.'.join(here)} stands twice, on {where}; remove one of them")
            lines[name] = line
            _refuse_repeated(value, here, done)
