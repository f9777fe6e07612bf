"""The tested program's side of function-call tests: load the solution, then answer calls until there are no more.

Everything in this process belongs to the program. Its results are data for the judge, who has the tests.
"""

from __future__ import annotations

import builtins
import json
import sys
import traceback
import types
from typing import Any

from . import stdio, wire
from .prelude import PRELUDE

CHANNEL = 4


class _UndefinedError(Exception):
    """The tests use a name that the solution does not define."""


class _Borrowed:
    """A stand-in for something that stays with the tests: a function, or an object of one of their classes."""

    def __init__(self, solution: _Solution, number: int) -> None:
        self.__dict__["_borrowed"] = (solution, number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("call", *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def __iter__(self) -> Any:
        return iter(self._ask("iterate"))

    def __next__(self) -> Any:
        return self._ask("next")

    def __bool__(self) -> bool:
        return bool(self._ask("truth"))

    def __len__(self) -> int:
        length: int = self._ask("length")
        return length

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", key)

    def __eq__(self, other: object) -> Any:
        return self is other or self._ask("equal", other)

    def __lt__(self, other: object) -> Any:
        return self._ask("less", other)

    def __hash__(self) -> int:
        return hash(self._borrowed[1])

    def __str__(self) -> str:
        text: str = self._ask("text")
        return text

    def _ask(self, what: str, *args: Any, **kwargs: Any) -> Any:
        solution, number = self._borrowed
        return solution.ask_tests(number, what, args, kwargs)


class _Solution(wire.Decoder):
    def __init__(self, module: types.ModuleType, prefix: types.ModuleType, channel: wire.Channel) -> None:
        self.module, self.prefix, self.channel = module, prefix, channel
        self.kept: list[Any] = []

    def serve(self, request: dict[str, Any]) -> None:
        """Answer one request."""
        self.channel.send(self.answer(request))

    def keep(self, value: Any) -> dict[str, Any]:
        if isinstance(value, _Borrowed):
            return {"k": value._borrowed[1]}
        self.kept.append(value)
        return {"h": len(self.kept) - 1}

    def reference(self, tag: str, body: Any) -> Any:
        if tag == "h":
            return self._at(body)
        if tag == "k":
            return _Borrowed(self, body)
        if tag == "Y_":
            return getattr(builtins, body)
        return super().reference(tag, body)

    def ask_tests(self, number: int, what: str, args: Any, kwargs: Any) -> Any:
        encoded = [wire.encode(item, self.keep) for item in args]
        named = {name: wire.encode(item, self.keep) for name, item in kwargs.items()}
        self.channel.send({"tests": number, "do": what, "args": encoded, "kwargs": named})
        while "path" in (message := self.channel.receive()):
            self.serve(message)  # the called code may call back
        if "error" in message:
            kinds, text = message["error"]
            raised = getattr(builtins, kinds[0], None)
            if isinstance(raised, type) and issubclass(raised, Exception):
                raise raised(text)
            raise RuntimeError(f"{kinds[0]}: {text}")
        return self.decode(message["value"])

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            self.list_kind = self._known("ListNode", wire.ListNode)
            self.tree_kind = self._known("TreeNode", wire.TreeNode)
            target = self._at(request["path"])
            args = [self.decode(item) for item in request.get("args", ())]
            kwargs = {name: self.decode(item) for name, item in request.get("kwargs", {}).items()}
            return {"value": wire.encode(_DEEDS[request["do"]](target, *args, **kwargs), self.keep)}
        except _UndefinedError as error:
            return {"undefined": str(error)}
        except Exception as error:  # noqa: BLE001 the solution's error is the test's to judge
            return _described(error, self.keep)

    def _at(self, path: list[Any]) -> Any:
        root, *attributes = path
        if isinstance(root, list):
            target = getattr(self.prefix, root[1])
        else:
            target = self.kept[root] if isinstance(root, int) else self._defined(root)
        for attribute in attributes:
            target = getattr(target, attribute)
        return target

    def _defined(self, name: str) -> Any:
        """What the solution itself defines; names below it (the prelude, the task's prefix) are not its work."""
        names = self.module.__dict__
        if name in names and not name.startswith("__"):
            return names[name]
        raise _UndefinedError(name)

    def _known(self, name: str, default: Any) -> Any:
        return vars(self.module).get(name, vars(self.prefix).get(name, default))


_DEEDS: dict[str, Any] = {
    "call": lambda target, *args, **kwargs: target(*args, **kwargs),
    "get": lambda target: target,
    "set": setattr,
    "iterate": lambda target: list(target),
    "next": next,
    "length": len,
    "item": lambda target, key: target[key],
    "set item": lambda target, key, value: target.__setitem__(key, value),
    "delete item": lambda target, key: target.__delitem__(key),
    "text": str,
    "form": repr,
    "is a": lambda target, kind: isinstance(target, kind),
    "add": lambda one, other: one + other,
    "subtract": lambda one, other: one - other,
    "multiply": lambda one, other: one * other,
    "less": lambda one, other: one < other,
    "at most": lambda one, other: one <= other,
    "enter": lambda target: target.__enter__(),
    "exit": lambda target: target.__exit__(None, None, None),
}


def _described(error: BaseException, keep: wire.Keep) -> dict[str, Any]:
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind is not object]
    try:
        args = [wire.encode(item, keep) for item in error.args]
    except Exception:  # noqa: BLE001 arguments that can't travel stay; kind and text are enough
        args = []
    try:
        text = str(error)[:300]
    except Exception:  # noqa: BLE001 a `__str__` of the solution's
        text = ""
    return {"error": [kinds, text, args]}


def main() -> int:
    given = json.loads(stdio.read_all(stdio.SOURCE))
    channel = wire.Channel(CHANNEL)
    below = {**vars(builtins), **PRELUDE}
    module = stdio.new_main()
    # Not "__main__": code under `if __name__ == "__main__"` belongs to a script, not to a solution.
    sys.modules["solution"] = module
    prefix = types.ModuleType("prefix")
    try:
        prefix.__dict__["__builtins__"] = below
        sys.modules["prefix"] = prefix
        exec(compile(given["prefix"], "prefix.py", "exec", dont_inherit=True), prefix.__dict__)
        below = {
            **below,
            **{name: value for name, value in vars(prefix).items() if not name.startswith("__")},
        }
        module.__dict__.update(__name__="solution", __builtins__=below)
        exec(compile(given["source"], "solution.py", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:  # noqa: BLE001 a solution that does not load fails its tests, with the reason
        traceback.print_exc()
        channel.send(_described(error, lambda value: {"h": -1}))
        return 1
    channel.send({"value": None})
    solution = _Solution(module, prefix, channel)
    while True:
        try:
            request = channel.receive()
        except EOFError:
            return 0
        solution.serve(request)
