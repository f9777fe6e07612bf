"""The tested program's side of function-call tests: load the solution, then answer calls until nobody asks.

Everything in this process belongs to the program; what it answers is data for the judge, who has the tests.
"""

from __future__ import annotations

import builtins
import importlib
import sys
import traceback
from typing import Any

from . import stdio, wire

CHANNEL = 4
# What LeetCode gives every solution, less the names that would hide a built-in (math.pow, operator.abs, …).
_STAR = ("string", "operator", "math", "typing", "bisect", "heapq", "itertools", "collections", "functools")
_MODULES = (
    "bisect", "collections", "copy", "datetime", "functools", "heapq", "itertools", "json", "math",
    "operator", "random", "re", "string", "sys",
)  # fmt: skip


def prelude() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for module_name in _STAR:
        module = importlib.import_module(module_name)
        public = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
        names.update({name: getattr(module, name) for name in public if not hasattr(builtins, name)})
    names.update({name: importlib.import_module(name) for name in _MODULES})
    names.update(
        ListNode=wire.ListNode, TreeNode=wire.TreeNode, list_node=wire.list_node, tree_node=wire.tree_node,
        inf=float("inf"),
    )  # fmt: skip
    return names


_PRELUDE = prelude()  # in the zygote, once


class _Solution(wire.Decoder):
    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self.kept: list[Any] = []

    def keep(self, value: Any) -> int:
        self.kept.append(value)
        return len(self.kept) - 1

    def handle(self, number: int) -> Any:
        return self.kept[number]

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            self.list_kind = self.names.get("ListNode", wire.ListNode)
            self.tree_kind = self.names.get("TreeNode", wire.TreeNode)
            root, *attributes = request["path"]
            target = self.kept[root] if isinstance(root, int) else self._global(root)
            for attribute in attributes:
                target = getattr(target, attribute)
            if request["call"]:
                args = [self.decode(item) for item in request["args"]]
                target = target(*args, **{k: self.decode(v) for k, v in request["kwargs"].items()})
            return {"value": wire.encode(target, self.keep)}
        except Exception as error:  # noqa: BLE001 the solution's error is the test's to judge
            return {"error": [type(error).__name__, str(error)[:300]]}

    def _global(self, name: str) -> Any:
        if name in self.names:
            return self.names[name]
        raise NameError(f"name {name!r} is not defined")


def main() -> int:
    source = stdio.read_all(stdio.SOURCE)
    channel = wire.Channel(CHANNEL)
    module = stdio.new_main()
    # Not "__main__": what stands under `if __name__ == "__main__"` is a script's, not a solution's.
    module.__dict__.update(_PRELUDE, __name__="solution")
    sys.modules["solution"] = module
    try:
        exec(compile(source, "solution.py", "exec"), module.__dict__)
    except BaseException as error:  # noqa: BLE001 a solution that does not load fails its tests, with the reason
        traceback.print_exc()
        channel.send({"error": [type(error).__name__, str(error)[:300]]})
        return 1
    channel.send({"value": None})
    solution = _Solution(module.__dict__)
    while True:
        try:
            request = channel.receive()
        except EOFError:
            return 0
        channel.send(solution.answer(request))
