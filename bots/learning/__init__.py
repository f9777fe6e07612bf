"""Learning: advantages, losses and batches, as pure functions."""
