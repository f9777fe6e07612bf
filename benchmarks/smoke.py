"""Ratios that must hold, one line each, in about a minute. Exit status 1 if one does not.

    python -m benchmarks.smoke

Wall-clock over the ideal for 2 and 8 engines that share a wave, and the CPU time per token of an engine with
`actors.cpu_shortcuts` over that without. Ratios of whole runs take minutes and idle cores: see `benchmarks.trl` and
`benchmarks.pipeline`.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.balance import LAWS, share
from benchmarks.virtual_clock import run

MOST = {"equal": 1.1, "long-tailed": 1.25}
MOST_CPU = 0.75
"""At most, CPU time per token with the shortcuts over that without."""


def main() -> int:
    worst = 0.0
    for engines in (2, 8):
        for name, sigma in LAWS.items():
            found = run(share([1.0] * engines, 32, sigma, waves=2, groups=16))
            ratio = found.ratio()
            worst = max(worst, ratio / MOST[name])
            print(
                f"{engines} engines, {name} lengths: wall/ideal {ratio:.3f} (at most {MOST[name]})",
                flush=True,
            )
    ratio = shortcuts()
    print(f"engine shortcuts: CPU per token {ratio:.2f} of vLLM's own (at most {MOST_CPU})", flush=True)
    return int(worst > 1.0 or ratio > MOST_CPU)


def shortcuts() -> float:
    """The median ratio of `benchmarks.engine_shortcuts`, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine_shortcuts", "--waves", "6"],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1].rpartition("ratio ")[2].split()[0])


if __name__ == "__main__":
    sys.exit(main())
