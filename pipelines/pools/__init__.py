"""The parts of `bots pool`."""
