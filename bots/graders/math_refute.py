"""Double-checks math-verify. Its tolerance is absolute, so it takes 2^-99 for 2^-98. Its symbols are arbitrary complex
numbers, so it does not take √(1/n) for 1/√n.

Both values are evaluated to 60 digits, with symbols at fixed rational points, and must agree relatively: exact values
to 1e-40, decimal ones to 1e-6. Values that can't be evaluated are neither refuted nor confirmed.
"""

from __future__ import annotations

from typing import Any

import sympy

_DIGITS = 60
_MOST_OPERATIONS = 100
_EXACT, _DECIMAL = sympy.Float("1e-40", _DIGITS), sympy.Float("1e-6", _DIGITS)
_ESTIMATE = 1e-2


def refuted(right: Any, said: Any) -> bool:
    """Whether two sympy values certainly differ. Tuples, sets, intervals and matrices differ if any part does."""
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


def confirmed(right: Any, said: Any) -> bool:
    """Whether two sympy values are equal at every point tried, with real symbols.

    With a symbol, both must be real and equal if all symbols are positive, and equal wherever else both are real.
    """
    if isinstance(right, sympy.Tuple) and isinstance(said, sympy.Tuple):
        return len(right) == len(said) and all(map(confirmed, right, said))
    if not (isinstance(right, sympy.Expr) and isinstance(said, sympy.Expr)):
        return False
    if right.has(sympy.Float) or said.has(sympy.Float):
        return False  # math-verify has already applied its tolerance
    symbols = sorted(right.free_symbols | said.free_symbols, key=str)
    if right.free_symbols != said.free_symbols or max(right.count_ops(), said.count_ops()) > _MOST_OPERATIONS:
        return False
    if not symbols:
        return _agree(right, said, {}) is True
    # ln|x| is ln x only for positive x, so there both must be real everywhere.
    everywhere = right.has(sympy.Abs) != said.has(sympy.Abs)
    for signs in (1, 1), (1, 1), (-1, -1), (1, -1), (-1, 1):
        at = {
            symbol: signs[place % 2]
            * sympy.Rational(11 * place + 17 + 5 * signs[0], 3 * place + 10 - signs[1])
            for place, symbol in enumerate(symbols)
        }
        verdict = _agree(right, said, at, real=True)
        if verdict is False or (verdict is None and (everywhere or signs == (1, 1))):
            return False
    return True


def near(value: Any, estimate: Any) -> bool:
    """Whether two of math-verify's results may be a value and its estimate: within a hundredth, if they are numbers."""
    one, other = (found[0] if found else None for found in (value, estimate))
    if not (isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr)):
        return True
    if one.free_symbols or other.free_symbols:
        return True
    try:
        return bool(abs(one.evalf() - other.evalf()) <= _ESTIMATE * abs(one.evalf()))
    except (TypeError, ValueError, ArithmeticError):
        return False


def _differ(right: sympy.Expr, said: sympy.Expr) -> bool:
    if right.is_Rational and said.is_Rational:
        return bool(right != said)
    symbols = sorted(right.free_symbols | said.free_symbols, key=str)
    at = {symbol: sympy.Rational(7 * place + 13, 2 * place + 9) for place, symbol in enumerate(symbols)}
    if _agree(right, said, at) is False:
        return True
    # ln|x| and ln x are equal wherever x is positive.
    apart = right.has(sympy.Abs) != said.has(sympy.Abs)
    return apart and _agree(right, said, {symbol: -value for symbol, value in at.items()}) is False


def _agree(right: sympy.Expr, said: sympy.Expr, at: dict[Any, Any], *, real: bool = False) -> bool | None:
    """Whether both have the same value at a point; None if one has no value there (with `real`: no real value)."""
    try:
        one, other = (value.subs(at).doit() for value in (right, said))
        if one.is_Rational and other.is_Rational:
            return bool(one == other)
        one, other = one.evalf(_DIGITS), other.evalf(_DIGITS)
        size = max(abs(one), abs(other))
        if not (one.is_number and other.is_number and size.is_finite):
            return None
        if real and not (one.is_real and other.is_real):
            return None
        if size == 0:
            return True
        tolerance = _DECIMAL if right.has(sympy.Float) or said.has(sympy.Float) else _EXACT
        return bool(abs(one - other).evalf(_DIGITS) <= size * tolerance)
    except (TypeError, ValueError, ArithmeticError, AttributeError, NotImplementedError):
        return None
