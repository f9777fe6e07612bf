"""BOTS."""
