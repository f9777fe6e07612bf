"""What must stay: wall-clock over the ideal for 2 and 8 engines that share a wave. Ends with 1 if it does not.

python -m benchmarks.smoke
"""

from __future__ import annotations

import sys

from benchmarks.balance import LAWS, share
from benchmarks.virtual_clock import run

MOST = {"equal": 1.1, "long-tailed": 1.25}


def main() -> int:
    worst = 0.0
    for engines in (2, 8):
        for name, sigma in LAWS.items():
            found = run(share(engines, 32, sigma, waves=2, groups=16))
            ratio = found.seconds / found.ideal
            worst = max(worst, ratio / MOST[name])
            print(
                f"{engines} engines, {name} lengths: wall/ideal {ratio:.3f} (at most {MOST[name]})",
                flush=True,
            )
    return int(worst > 1.0)


if __name__ == "__main__":
    sys.exit(main())
