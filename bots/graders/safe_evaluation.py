"""Evaluates text that a model or a data file wrote, without running it.

reasoning-gym's scorers call `eval` and SymPy's `parse_expr`, which is an `eval` too, on completions and on entries.
Outside the sandbox that would run any program, and `[entry['answer']]` would read the right answer. `guard` gives its
modules the functions of this file instead.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import operator
import re
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

_LONGEST = 10_000
"""Largest length of a text, in characters."""
_LARGEST_POWER = 256
"""Largest exponent, and largest shift in bits."""
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.LShift: operator.lshift,
    ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Invert: operator.invert,
}  # fmt: skip

_FORMULA = re.compile(
    r"(?:[\s0-9*/^()!,+-]|\.(?!\s*[A-Za-z_])|(?P<name>[A-Za-z](?:_?[A-Za-z0-9])*))*", re.ASCII
)
"""A formula: no text, attribute, item, keyword argument or comparison."""
_NAME = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z](?:_?[A-Za-z0-9])*", re.ASCII)
_FUNCTIONS = (
    "sin cos tan cot sec csc asin acos atan acot sinh cosh tanh coth asinh acosh atanh exp log ln sqrt cbrt Abs abs "
    "sign floor ceiling factorial binomial gcd lcm gamma beta zeta erf erfc Rational Integer Float Add Mul Pow "
    "pi oo E I C N O Q S max min Max Min"
)
_MATHEMATICS = frozenset(_FUNCTIONS.split())
"""Names of SymPy or Python that a formula may use. Any other name of theirs is refused, and all others are symbols."""


def value(text: str) -> Any:
    """The value of a Python literal (numbers, texts, lists, tuples, sets, dicts) or of arithmetic on numbers.

    Raises ValueError for anything else, and SyntaxError for what is no Python.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"a text of {len(text)} characters; at most {_LONGEST} are evaluated")
    try:
        return ast.literal_eval(text.strip())
    except ValueError:
        return _arithmetic(ast.parse(text.strip(), mode="eval").body)


def _arithmetic(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)](_arithmetic(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _arithmetic(node.left), _arithmetic(node.right)
        if isinstance(node.op, ast.Pow | ast.LShift) and abs(right) > _LARGEST_POWER:
            raise ValueError(f"a power or shift of {right}; at most {_LARGEST_POWER} is computed")
        return _OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.List | ast.Tuple):
        made = [_arithmetic(item) for item in node.elts]
        return made if isinstance(node, ast.List) else tuple(made)
    raise ValueError(
        f"{ast.unparse(node)[:60]!r} is neither a literal nor arithmetic; nothing else is evaluated"
    )


def formula(text: str, local_dict: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """SymPy's `parse_expr` for a text that is a formula: numbers, symbols, operators and functions of `_MATHEMATICS`.

    Raises ValueError for any other text; otherwise what `parse_expr` raises.
    """
    import sympy
    from sympy.parsing.sympy_parser import parse_expr

    if len(text) > _LONGEST or not _FORMULA.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is not a formula; nothing else is evaluated")
    for name in _NAME.findall(text):
        if name in (local_dict or ()) or name in _MATHEMATICS:
            continue
        if keyword.iskeyword(name) or hasattr(sympy, name) or hasattr(builtins, name):
            raise ValueError(f"{name!r} in {text[:60]!r} is not a symbol, and no function that is evaluated")
    return parse_expr(text, local_dict=None if local_dict is None else dict(local_dict), **options)


class _Sympy:
    """SymPy, but for its `parse_expr`."""

    parse_expr = staticmethod(formula)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules["sympy"], name)


def guard(package: str) -> None:
    """Let every imported module of a package evaluate by `value` and `formula`, whether by `eval`, by `parse_expr` or
    by `sympy.parse_expr`. `eval` then takes no namespaces."""
    sympy = sys.modules.get("sympy")
    parser = sys.modules.get("sympy.parsing.sympy_parser")
    shim = _Sympy()
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or not f"{name}.".startswith(f"{package}."):
            continue
        module.__dict__.setdefault("eval", value)
        for key, held in list(vars(module).items()):
            if sympy is not None and held is sympy:
                setattr(module, key, shim)
            elif parser is not None and held is parser.parse_expr:
                setattr(module, key, formula)
