"""The tests' side of function-call tests: run the data set's test code, with the solution at the end of a
channel.

The names that the test code uses and nobody defines (`Solution`, a function's name) are stand-ins here,
whose calls go to the other process. Only data comes back, so the expected values stay in this process and
no object of the solution can meddle with a comparison. The verdict goes out on a descriptor that only this
process has.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import sys
import types
from typing import Any

from . import stdio, wire

CHANNEL, VERDICT = 4, 5


class SolutionError(Exception):
    """The solution raised, sent nonsense, or has ended."""


class _Client(wire.Decoder):
    def __init__(self, channel: wire.Channel) -> None:
        self.channel = channel
        self.answered = 0

    def handle(self, number: int) -> Any:
        return _Remote(self, [number])

    def ask(self, path: list[Any], call: bool, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        def keep(value: Any) -> int:
            if isinstance(value, _Remote) and len(value._path) == 1 and isinstance(value._path[0], int):
                return value._path[0]
            raise SolutionError(
                f"a test passes a {type(value).__name__}, which can't be sent to the solution"
            )

        encoded = [wire.encode(item, keep) for item in args]
        encoded_kwargs = {k: wire.encode(v, keep) for k, v in (kwargs or {}).items()}
        try:
            self.channel.send({"path": path, "call": call, "args": encoded, "kwargs": encoded_kwargs})
        except OSError as error:
            raise SolutionError("the solution has ended") from error
        answer = self.hear()
        self.answered += 1
        return answer

    def hear(self) -> Any:
        try:
            message = self.channel.receive()
            if "error" in message:
                kind, text = message["error"]
            else:
                return self.decode(message["value"])
        except (EOFError, OSError) as error:
            raise SolutionError("the solution has ended") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError) as error:
            raise SolutionError(f"the solution sent nonsense ({type(error).__name__})") from error
        # A test may expect a built-in error; StopIteration would end a loop of the test's own.
        raised = getattr(builtins, str(kind), None)
        if (
            isinstance(raised, type)
            and issubclass(raised, Exception)
            and not issubclass(raised, StopIteration)
        ):
            error_type = types.new_class(raised.__name__, (_Raised, raised))
            raise error_type(f"{kind}: {text}")
        raise SolutionError(f"{kind}: {text}")


class _Raised:
    """Marks an error that came from the solution."""


class _Remote:
    """A name, attribute or object of the solution. Only calling it does anything."""

    def __init__(self, client: _Client, path: list[Any]) -> None:
        self._client = client
        self._path = path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if isinstance(self._path[0], int) and len(self._path) == 1:
            # An object's field is read at once if it is data (`node.val`); a method stays here to be called.
            value = self._client.ask([*self._path, name], call=False)
            return value if not isinstance(value, _Remote) else _Remote(self._client, [*self._path, name])
        return _Remote(self._client, [*self._path, name])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._client.ask(self._path, True, args, kwargs)


def solution_names(tree: ast.Module, known: set[str]) -> set[str]:
    """The names in the test code that must be the solution's: used, but defined neither there nor in `known`.

    A solution may be called like a built-in (`sum`); then no name is left over, and the one that is tested
    is meant. A built-in is never taken from the solution otherwise: its `all` could say that all is well.
    """
    used: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.arg(arg=name):
                bound.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                bound.update((alias.asname or alias.name).split(".")[0] for alias in aliases)
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
    missing = used - bound - known
    if missing:
        return missing
    return _tested_builtin(tree)


def _tested_builtin(tree: ast.Module) -> set[str]:
    for node in ast.walk(tree):  # check(sum)
        match node:
            case ast.Expr(value=ast.Call(func=ast.Name(id="check"), args=[ast.Name(id=name)])):
                return {name}
    for node in ast.walk(tree):  # _deep_eq(sum(*i), o)
        match node:
            case ast.Call(func=ast.Name(id=name), args=[ast.Starred()]):
                return {name}
    for node in ast.walk(tree):  # assert sum([1, 2]) == 3
        match node:
            case ast.Assert(test=ast.Compare(left=ast.Call(func=ast.Name(id=name)))):
                return {name}
    return set()


def _same_list(one: Any, other: Any) -> bool:
    return wire.list_values(one) == wire.list_values(other)


def _same_tree(one: Any, other: Any) -> bool:
    return wire.tree_values(one) == wire.tree_values(other)


def _run(source: str, client: _Client) -> dict[str, Any]:
    helpers: dict[str, Any] = {
        "ListNode": wire.ListNode, "TreeNode": wire.TreeNode, "list_node": wire.list_node,
        "tree_node": wire.tree_node, "is_same_list": _same_list, "is_same_tree": _same_tree,
        "inf": float("inf"),
    }  # fmt: skip
    try:
        tree = ast.parse(source, "tests.py")
    except (SyntaxError, ValueError) as error:
        return {"verdict": "broken", "reason": f"the tests are not Python: {error}"}
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    module.__dict__.update(helpers)
    known = set(helpers) | set(dir(builtins))
    module.__dict__.update({name: _Remote(client, [name]) for name in solution_names(tree, known)})
    try:
        client.hear()
    except Exception as error:  # noqa: BLE001
        return {"verdict": "fail", "reason": f"the solution does not load: {error}"}
    try:
        exec(compile(tree, "tests.py", "exec"), module.__dict__)
    except AssertionError as error:
        if isinstance(error, _Raised):
            return {"verdict": "fail", "reason": f"after {client.answered} calls: {error}"}
        return {"verdict": "fail", "reason": f"wrong result at call {client.answered}"}
    except Exception as error:  # noqa: BLE001
        kind = "" if isinstance(error, SolutionError | _Raised) else f"{type(error).__name__}: "
        return {"verdict": "fail", "reason": f"after {client.answered} calls: {kind}{error}"}
    if client.answered == 0:
        return {"verdict": "broken", "reason": "the tests never called the solution"}
    return {"verdict": "pass", "reason": "passed"}


def main() -> int:
    source = stdio.read_all(stdio.SOURCE).decode()
    result = _run(source, _Client(wire.Channel(CHANNEL)))
    result["reason"] = str(result["reason"])[:500]
    os.write(VERDICT, json.dumps(result).encode())
    return 0
