"""Numba's compiler with the types kept: compiled code is cached on disk and runs without the GIL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit
from numba.core.dispatcher import Dispatcher

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile on first call; division by zero gives inf or NaN as in NumPy."""
    dispatcher = njit(cache=True, nogil=True, error_model="numpy")(function)
    _expire_with_callees(dispatcher)
    typed: Function = dispatcher
    return typed


def _expire_with_callees(dispatcher: Any) -> None:
    """Let the cached code expire also when a module changes whose compiled functions this one's module imports.

    Numba holds on to it as long as the function's own file is the same: after an upgrade in place, such as a `git
    pull`, code of two versions would run together. Numba has no public way to say so.
    """
    index = dispatcher._cache._cache_file
    own = dispatcher.py_func.__module__
    imported = {
        other.py_func.__module__: other._cache._cache_file._source_stamp
        for other in dispatcher.py_func.__globals__.values()
        if isinstance(other, Dispatcher) and other.py_func.__module__ != own
    }
    index._source_stamp = (index._source_stamp, *sorted(imported.items()))
