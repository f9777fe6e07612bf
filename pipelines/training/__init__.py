"""The parts of `bots train`."""
