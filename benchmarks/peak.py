"""A process's peak memory over a stretch of work, on Linux."""

from __future__ import annotations

from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident() -> float:
    """MiB that this process holds now."""
    return _field("VmRSS")


def begin() -> None:
    """Forget the peak so far. (`getrusage` can't, and starts with the parent's in a child process.)"""
    CLEAR.write_text("5")


def peak() -> float:
    """MiB at the peak since `begin`."""
    return _field("VmHWM")


def _field(name: str) -> float:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{STATUS} has no {name}")
