"""A second look at answers that math-verify calls equal, since its own tolerance is absolute: to it, 2^-99 is 2^-98.

Both are evaluated to 60 digits, symbols at fixed rational points, and must agree relatively: exact ones to 1e-40,
decimal ones to 1e-6. What can't be evaluated is not refuted.
"""

from __future__ import annotations

from typing import Any

import sympy

_DIGITS = 60
_EXACT, _DECIMAL = sympy.Float("1e-40", _DIGITS), sympy.Float("1e-6", _DIGITS)


def refuted(right: Any, said: Any) -> bool:
    """Whether two sympy values differ for certain. Tuples, sets, intervals and matrices differ where a part does."""
    if isinstance(right, sympy.MatrixBase) and isinstance(said, sympy.MatrixBase):
        parts = list(zip(right, said, strict=False))
        return right.shape != said.shape or any(refuted(one, other) for one, other in parts)
    if not (isinstance(right, sympy.Basic) and isinstance(said, sympy.Basic)):
        return False
    if isinstance(right, sympy.Tuple) and isinstance(said, sympy.Tuple):
        return len(right) != len(said) or any(map(refuted, right, said))
    if isinstance(right, sympy.FiniteSet) and isinstance(said, sympy.FiniteSet):
        return len(right) != len(said) or any(
            all(refuted(one, other) for other in said.args) for one in right.args
        )
    if isinstance(right, sympy.Interval) and isinstance(said, sympy.Interval):
        return refuted(right.start, said.start) or refuted(right.end, said.end)
    if not (isinstance(right, sympy.Expr) and isinstance(said, sympy.Expr)):
        return False
    return _differ(right, said)


def _differ(right: sympy.Expr, said: sympy.Expr) -> bool:
    symbols = sorted(right.free_symbols | said.free_symbols, key=str)
    at = {symbol: sympy.Rational(7 * place + 13, 2 * place + 9) for place, symbol in enumerate(symbols)}
    try:
        one, other = (value.subs(at).doit().evalf(_DIGITS) for value in (right, said))
        size = max(abs(one), abs(other))
        if not (one.is_number and other.is_number and size.is_finite) or size == 0:
            return False
        tolerance = _DECIMAL if right.has(sympy.Float) or said.has(sympy.Float) else _EXACT
        return bool(abs(one - other).evalf(_DIGITS) > size * tolerance)
    except (TypeError, ValueError, ArithmeticError, AttributeError, NotImplementedError):
        return False
