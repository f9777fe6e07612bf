"""BOTS, the task selection of one training run, and the parts it consists of."""

from bots.core.bots import BOTS

__all__ = ["BOTS"]
