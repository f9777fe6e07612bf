"""Names that the data sets take for granted, as LeetCode and similar sites import them before any solution.

Each side gets its own copy: both the solution and a test may use `gcd` without an import. They rank below the
solution's own names, so that a name it may merely use does not count as one it defines.
"""

from __future__ import annotations

import builtins
import importlib
from typing import Any

from . import wire

# LeetCode's imports for every solution, minus names that would hide a built-in (math.pow, operator.abs, …).
_STAR = ("string", "operator", "math", "typing", "bisect", "heapq", "itertools", "collections", "functools")
_MODULES = (
    "bisect", "collections", "copy", "datetime", "functools", "heapq", "itertools", "json", "math",
    "operator", "random", "re", "string", "sys",
)  # fmt: skip


def _prelude() -> dict[str, Any]:
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


PRELUDE = _prelude()  # in the zygote, once
