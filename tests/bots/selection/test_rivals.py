"""Every rival after a restart."""

import numpy as np
import pytest

from bots import BOTS
from bots.pool.example import example_pool

RIVALS = ("adarft", "greso", "mopps_retention", "insight", "dps", "vade", "cures", "dots_similarity", "gps")


@pytest.mark.parametrize("selector", RIVALS)
def test_a_saved_run_goes_on_bit_for_bit(selector, tmp_path):
    """Selections and observations after a restart and a larger pool are those of the run that never stopped."""
    small, large = example_pool(300), example_pool(420)
    bots = BOTS(small, selector=selector, rollouts=8, seed=3)
    rng = np.random.default_rng(0)

    def steps(bots, first, rng):
        chosen = []
        for step in range(first, first + 6):
            rows = bots.select(24, step=step)
            bots.observe(rows, [rng.random(n) < 0.6 for n in rng.integers(1, 12, 24)], step=step)
            chosen.append(rows.tolist())
        return chosen

    steps(bots, 0, rng)
    bots.observe(bots.select(24, step=6)[:9], rng.random((9, 8)), step=6)  # the rest never arrives
    bots.save(tmp_path / "beliefs.arrow")
    restored = BOTS.load(tmp_path / "beliefs.arrow", small)
    for one in (bots, restored):
        one.grow(large)
    assert steps(restored, 7, np.random.default_rng(1)) == steps(bots, 7, np.random.default_rng(1))
    assert restored.metrics() == bots.metrics()
