"""Values as data between the tested program and its judge: JSON with tags, never pickles, never code.

The worst that the program's side can send is a wrong value. Values of other kinds stay where they are, and a reference
travels instead; the receiving side decides what may be done with it.
"""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import json
import os
import struct
import types
import uuid
from collections.abc import Callable, Iterator
from typing import Any

MAX_FRAME = 1 << 26  # bytes
MAX_ITEMS = 300_000  # of an iterator or a linked structure, which may be infinite
_ITERATORS: Any = (
    types.GeneratorType, map, filter, zip, reversed, enumerate, type(iter([])), type(iter(())),
    type(iter({})), type({}.keys()), type({}.values()), type({}.items()),
)  # fmt: skip


_TYPES = {
    kind.__name__: kind
    for kind in (int, float, str, bool, bytes, complex, list, tuple, dict, set, frozenset, range)
}

Keep = Callable[[Any], dict[str, Any]]
"""A reference to a value that stays where it is: `{tag: reference}`. May raise if there can be no reference to it."""


class ListNode:
    """LeetCode's linked list."""

    def __init__(self, val: Any = 0, next: Any = None) -> None:
        self.val = val
        self.next = next


class TreeNode:
    """LeetCode's binary tree."""

    def __init__(self, val: Any = 0, left: Any = None, right: Any = None) -> None:
        self.val = val
        self.left = left
        self.right = right


def list_node(values: Any, kind: Any = ListNode) -> Any:
    """A linked list of `values`; None if there are none."""
    head = None
    for value in reversed(list(values)):
        head = kind(value, head)
    return head


def tree_node(values: Any, kind: Any = TreeNode) -> Any:
    """A binary tree from LeetCode's level order with None for a missing child."""
    values = list(values)
    if not values or values[0] is None:
        return None
    root = kind(values[0])
    queue = collections.deque([root])
    rest = iter(values[1:])
    for left in rest:
        parent = queue.popleft()
        for side, value in (("left", left), ("right", next(rest, None))):
            if value is not None:
                setattr(parent, side, kind(value))
                queue.append(getattr(parent, side))
        if not queue:
            break
    return root


def list_values(head: Any) -> list[Any]:
    values = []
    while head is not None:
        values.append(head.val)
        head = head.next
        if len(values) > MAX_ITEMS:
            raise ValueError("the linked list has a cycle or is too long")
    return values


def tree_values(root: Any) -> list[Any]:
    values: list[Any] = []
    queue = collections.deque([root])
    while queue:
        node = queue.popleft()
        values.append(None if node is None else node.val)
        if node is not None:
            queue.extend((node.left, node.right))
        if len(values) > MAX_ITEMS:
            raise ValueError("the tree has a cycle or is too big")
    while values and values[-1] is None:
        values.pop()
    return values


def encode(value: Any, keep: Keep) -> Any:
    """`value` as JSON data; `keep` returns a reference to a value that can't travel.

    An instance of a subclass travels as its base value, without an overridden `__eq__`.
    """
    if value is None or value is True or value is False:
        return value
    match value:
        case str():
            return str.__str__(value)
        case int():
            plain = int.__index__(value)
            return plain if -(2**53) < plain < 2**53 else {"i": hex(plain)}
        case float():
            plain_float = float.__float__(value)
            return plain_float if plain_float - plain_float == 0 else {"f": repr(plain_float)}
        case list():
            return [encode(item, keep) for item in list.__iter__(value)]
        case tuple():
            return {"t": [encode(item, keep) for item in tuple.__iter__(value)]}
        case collections.Counter():
            return {"C": [[encode(k, keep), encode(v, keep)] for k, v in dict.items(value)]}
        case collections.OrderedDict():
            return {"O": [[encode(k, keep), encode(v, keep)] for k, v in dict.items(value)]}
        case dict():
            return {"d": [[encode(k, keep), encode(v, keep)] for k, v in dict.items(value)]}
        case set():
            return {"s": [encode(item, keep) for item in set.__iter__(value)]}
        case frozenset():
            return {"z": [encode(item, keep) for item in frozenset.__iter__(value)]}
        case collections.deque():
            return {"q": [encode(item, keep) for item in value]}
        case bytes() | bytearray():
            return {"b": bytes(value).hex()}
        case complex():
            return {"c": [repr(value.real), repr(value.imag)]}
        case range():
            return {"r": [value.start, value.stop, value.step]}
        case fractions.Fraction():
            return {"F": str(value)}
        case decimal.Decimal():
            return {"D": str(value)}
        case array.array():
            return {"a": [value.typecode, [encode(item, keep) for item in value]]}
        case uuid.UUID():
            return {"U": str(value)}
        case datetime.timedelta():
            return {"W": [value.days, value.seconds, value.microseconds]}
        case datetime.datetime() | datetime.time():
            zone = value.utcoffset()
            offset = None if zone is None else zone / datetime.timedelta(seconds=1)
            kind = "M" if isinstance(value, datetime.datetime) else "H"
            return {kind: [value.replace(tzinfo=None).isoformat(), offset, value.fold]}
        case datetime.date():
            return {"Y": [value.year, value.month, value.day]}
    if any(value is kind for kind in _TYPES.values()):
        return {"y": value.__name__}
    name = type(value).__name__
    if name == "ListNode" and hasattr(value, "val") and hasattr(value, "next"):
        return {"l": [encode(item, keep) for item in list_values(value)]}
    if name == "TreeNode" and hasattr(value, "val") and hasattr(value, "left"):
        return {"T": [encode(item, keep) for item in tree_values(value)]}
    if isinstance(value, _ITERATORS):
        items = []
        for item in value:
            items.append(encode(item, keep))
            if len(items) > MAX_ITEMS:
                raise ValueError("an iterator gave too many items")
        return {"n": items}
    return keep(value)


class Decoder:
    """Turns JSON data into values. Override `reference`, `list_kind` and `tree_kind` for the decoding side."""

    list_kind: Any = ListNode
    tree_kind: Any = TreeNode

    def reference(self, tag: str, body: Any) -> Any:
        """What a reference means on this side. Raises ValueError for a reference that this side did not create."""
        raise ValueError(f"unknown tag {tag!r}")

    def decode(self, data: Any) -> Any:
        if isinstance(data, list):
            return [self.decode(item) for item in data]
        if not isinstance(data, dict):
            return data
        ((tag, body),) = data.items()
        match tag:
            case "i":
                return int(body, 16)
            case "f":
                return float(body)
            case "t":
                return tuple(self.decode(item) for item in body)
            case "C":
                return collections.Counter({self.decode(k): self.decode(v) for k, v in body})
            case "O":
                return collections.OrderedDict((self.decode(k), self.decode(v)) for k, v in body)
            case "d":
                return {self.decode(k): self.decode(v) for k, v in body}
            case "s":
                return {self.decode(item) for item in body}
            case "z":
                return frozenset(self.decode(item) for item in body)
            case "q":
                return collections.deque(self.decode(item) for item in body)
            case "b":
                return bytes.fromhex(body)
            case "c":
                return complex(float(body[0]), float(body[1]))
            case "r":
                return range(*body)
            case "F":
                return fractions.Fraction(body)
            case "D":
                return decimal.Decimal(body)
            case "l":
                return list_node([self.decode(item) for item in body], self.list_kind)
            case "T":
                return tree_node([self.decode(item) for item in body], self.tree_kind)
            case "n":
                return self._iterator([self.decode(item) for item in body])
            case "a":
                return array.array(body[0], [self.decode(item) for item in body[1]])
            case "U":
                return uuid.UUID(body)
            case "W":
                return datetime.timedelta(*body)
            case "M" | "H":
                kind = datetime.datetime if tag == "M" else datetime.time
                zone = None if body[1] is None else datetime.timezone(datetime.timedelta(seconds=body[1]))
                return kind.fromisoformat(body[0]).replace(tzinfo=zone, fold=body[2])
            case "Y":
                return datetime.date(*body)
            case "y":
                return _TYPES[body]
        return self.reference(tag, body)

    @staticmethod
    def _iterator(items: list[Any]) -> Iterator[Any]:
        return iter(items)


class Channel:
    """Length-prefixed JSON frames over a stream socket."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._in = open(fd, "rb", closefd=False)  # noqa: SIM115 lives as long as the process

    def send(self, message: Any) -> None:
        body = json.dumps(message).encode()
        view = memoryview(struct.pack("<I", len(body)) + body)
        while view:
            view = view[os.write(self._fd, view) :]

    def receive(self) -> Any:
        """The next message. Raises EOFError if the other side has ended, ValueError if it is broken or too long."""
        header = self._in.read(4)
        if len(header) < 4:
            raise EOFError
        (size,) = struct.unpack("<I", header)
        if size > MAX_FRAME:
            raise ValueError(f"a message of {size} bytes (at most {MAX_FRAME} are allowed)")
        body = self._in.read(size)
        if len(body) < size:
            raise EOFError
        return json.loads(body)
