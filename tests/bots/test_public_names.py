"""The names of `import bots` are a promise; they change in no release without a word."""

import bots

NAMES = ["BOTS", "AnchorPrior", "DynamicFilter", "PoolError", "SnapshotError", "TaskPool"]


def test_public_names():
    assert bots.__all__ == NAMES
    assert set(NAMES) <= set(dir(bots))
    for name in NAMES:
        assert getattr(bots, name).__name__ == name
