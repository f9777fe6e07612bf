"""The tests' side of function-call tests: runs the data set's test code with the solution at the end of a channel.

The solution's names (`names`) are stand-ins here; calls to them go to the other process. Only data comes back, so the
expected values stay in this process and no object of the solution can tamper with a comparison. The verdict is written
to a descriptor that only this process has.
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
from .names import caught_names, solution_names
from .prelude import PRELUDE
from .remote import Client, Remote, SolutionError, Undefined, Unsupported

VERDICT = 5
_TEXT = 500  # characters of a reason


def _same_list(one: Any, other: Any) -> bool:
    return wire.list_values(one) == wire.list_values(other)


def _same_tree(one: Any, other: Any) -> bool:
    return wire.tree_values(one) == wire.tree_values(other)


_HELPERS: dict[str, Any] = {
    "ListNode": wire.ListNode, "TreeNode": wire.TreeNode, "list_node": wire.list_node,
    "tree_node": wire.tree_node, "is_same_list": _same_list, "is_same_tree": _same_tree,
    # JSON pasted into the tests
    "true": True, "false": False, "null": None,
    "inf": float("inf"),
}  # fmt: skip


def _broken(reason: str) -> dict[str, Any]:
    return {"verdict": "broken", "reason": reason}


def _failed(reason: str) -> dict[str, Any]:
    return {"verdict": "fail", "reason": reason}


def _run(source: str, prefix: str, told: list[str], client: Client) -> dict[str, Any]:
    try:
        tree = ast.parse(source, "tests.py")
        names = _prefix_names(prefix)
    except (SyntaxError, ValueError) as error:
        return _broken(f"the tests are not Python: {error}")
    except Exception as error:  # noqa: BLE001
        return _broken(f"the task's prefix does not run: {type(error).__name__}: {error}")
    own = {**PRELUDE, **_HELPERS, **names}
    testable = {
        name
        for name, value in own.items()
        if name not in _HELPERS and not isinstance(value, types.ModuleType)
    }
    asked = solution_names(tree, own, testable, told)
    if not asked:
        return _broken("the tests name nothing that the solution could define")
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    module.__dict__.update(own, isinstance=client.is_instance)
    # Objects of the prefix's classes are for the solution to work with, so they are created on its side.
    classes = {
        name for name, value in names.items() if isinstance(value, type) and value.__module__ == "prefix"
    }
    module.__dict__.update({name: Remote(client, [["prefix", name]]) for name in classes})
    module.__dict__.update({name: Remote(client, [name]) for name in asked})
    for name in caught_names(tree, asked):
        module.__dict__[name] = client.errors[name] = types.new_class(name, (Exception,))
    try:
        client.hear()
    except Exception as error:  # noqa: BLE001
        return _failed(f"the solution does not load: {client.said_by_solution(error) or error}")
    try:
        exec(compile(tree, "tests.py", "exec", dont_inherit=True), module.__dict__)
    except Unsupported as error:
        return _broken(str(error))
    except Undefined as error:
        return _failed(str(error))
    except SystemExit:
        return _broken("the tests end by themselves")
    except BaseException as error:  # noqa: BLE001
        if client.unsupported:
            return _broken(client.unsupported)
        said = client.said_by_solution(error)
        if isinstance(error, AssertionError) and said is None:
            return _failed(f"wrong result at call {client.answered}")
        if said is None:
            said = str(error) if isinstance(error, SolutionError) else f"{type(error).__name__}: {error}"
        return _failed(f"after {client.answered} calls: {said}")
    if client.unsupported:
        return _broken(client.unsupported)
    if client.answered == 0:
        return _broken("the tests never called the solution")
    return {"verdict": "pass", "reason": "passed"}


def _prefix_names(prefix: str) -> dict[str, Any]:
    """What the task's prefix defines, for the tests; the solution's own redefinitions do not affect them."""
    module = types.ModuleType("prefix")
    module.__dict__["__builtins__"] = {**vars(builtins), **PRELUDE}
    sys.modules["prefix"] = module
    exec(compile(prefix, "prefix.py", "exec", dont_inherit=True), module.__dict__)
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


def main() -> int:
    given = json.loads(stdio.read_all(stdio.SOURCE))
    client = Client()
    result = _run(given["tests"], given["prefix"], given["names"], client)
    result["reason"] = str(result["reason"])[:_TEXT]
    os.write(VERDICT, json.dumps(result).encode())
    return 0
