"""Numba's compiler with the types kept: compiled code is cached on disk and runs without the GIL."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile on first call; division by zero gives inf or NaN as in NumPy."""
    dispatcher: Function = njit(cache=True, nogil=True, error_model="numpy")(function)
    return dispatcher
