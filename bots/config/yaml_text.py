"""YAML as this project reads it: the same scalar means the same in a file, in `{…}` and on the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml


class DuplicateKeyError(yaml.YAMLError):
    """A key that stands twice in one mapping: YAML would silently take the last."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's numbers: 1e-6 is one, 010 is ten, and 10:30 is text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's attribute)
        first: [
            (tag, form)
            for tag, form in resolvers
            if tag not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def whole_number(self, node: yaml.ScalarNode) -> int:
        """The value of a scalar that looks like a whole number."""
        text = str(self.construct_scalar(node)).replace("_", "")
        return int(text, 0 if text.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else 10)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(?:0x[0-9a-fA-F][0-9a-fA-F_]*|0o[0-7][0-7_]*|0b[01][01_]*|[0-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole_number)


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
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        # A date such as 2024-13-45, a number of thousands of digits, brackets without end.
        raise yaml.YAMLError(f"a value can't be read: {error}") from error
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
