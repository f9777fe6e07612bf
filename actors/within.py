"""Waiting for an actor's answer inside an event loop, with a limit."""

from __future__ import annotations

import asyncio
from typing import Any

import ray


async def within(seconds: float, call: ray.ObjectRef) -> Any:
    """The answer of a call. Raises TimeoutError after `seconds`, or what the call raised."""

    async def answer() -> Any:
        return await call

    return await asyncio.wait_for(answer(), seconds)
