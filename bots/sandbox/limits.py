"""What a program may use, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ending = Literal["exit", "signal", "cpu_time", "wall_time", "output"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one program.

    cpu_seconds: processor time of all its threads, in whole seconds.
    wall_seconds: elapsed time.
    memory_bytes: address space.
    output_bytes: standard output.
    scratch_bytes: files in its scratch folder; the limit holds for each file and for all together.
    """

    cpu_seconds: int = 5
    wall_seconds: float = 10.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 1 << 22
    scratch_bytes: int = 1 << 24

    def __post_init__(self) -> None:
        for name, least in (("cpu_seconds", 1), ("memory_bytes", 1 << 26), ("output_bytes", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"sandbox limit {name}={getattr(self, name)}: at least {least} is needed")
        if not self.wall_seconds > 0:
            raise ValueError(f"sandbox limit wall_seconds={self.wall_seconds}: must be positive")
        if self.scratch_bytes < 4096:
            raise ValueError(f"sandbox limit scratch_bytes={self.scratch_bytes}: at least 4096 are needed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    ending: "exit" if it exited by itself (see `code`), "signal" (see `code`), or the limit that stopped it.
    stdout: its standard output, at most `Limits.output_bytes`.
    stderr: the end of its standard error, decoded.
    """

    ending: Ending
    code: int
    stdout: bytes
    stderr: str
    cpu_seconds: float
    peak_bytes: int

    @property
    def succeeded(self) -> bool:
        """Whether it exited by itself with status 0."""
        return self.ending == "exit" and self.code == 0

    def explain(self) -> str:
        """Why it did not succeed, in a few words."""
        match self.ending:
            case "cpu_time" | "wall_time":
                return f"time limit exceeded ({self.ending.replace('_', ' ')})"
            case "output":
                return "output limit exceeded"
            case "signal":
                return f"ended by signal {self.code}"
        lines = self.stderr.strip().splitlines()
        return f"exit status {self.code}" + (f": {lines[-1][:200]}" if lines else "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of function-call tests: `passed` or not, with the reason. `broken`: the tests are at fault."""

    passed: bool
    reason: str
    broken: bool = False
