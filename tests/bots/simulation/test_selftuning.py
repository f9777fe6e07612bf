"""Self-tuned λ and ρ recover most of the best fixed choice; `benchmarks.selftuning` prints the full table."""

import pytest

from benchmarks.selftuning import measure


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["learning", "rising", "misled"])
def test_recovers_within_ten_percent_of_the_best_fixed(kind):
    row = measure(kind, seeds=(10, 11), steps=120, values=(0.0, 0.05, 0.5))
    assert row.recovered > 0.9
    assert row.tuned.mean() > row.paper.mean() - 0.01
    assert row.tuned.mean() > row.random.mean() + 0.1
