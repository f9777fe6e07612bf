"""Waiting for an actor call inside an event loop, with a time limit."""

from __future__ import annotations

import asyncio
from typing import Any

import ray


async def within(seconds: float, call: ray.ObjectRef[Any]) -> Any:
    """The result of a call. Raises TimeoutError after `seconds`, or the call's own error."""

    async def result() -> Any:
        return await call

    return await asyncio.wait_for(result(), seconds)
