"""BOTS: Bayesian online task selection for reinforcement finetuning (arXiv 2510.26374)."""

from bots.core import BOTS
from bots.pool import PoolError, TaskPool
from bots.prior import AnchorPrior
from bots.selection import DynamicFilter
from bots.snapshot import SnapshotError

__all__ = ["BOTS", "AnchorPrior", "DynamicFilter", "PoolError", "SnapshotError", "TaskPool"]
