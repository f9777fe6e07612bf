"""Task selection inside other people's trainers: one module for each, and `Curriculum`, which they share.

Nothing of a trainer is imported until its own module is.
"""

from bots.adapters.curriculum import Curriculum, Wave
from bots.adapters.peers import UnsupportedPeerError

__all__ = ["Curriculum", "UnsupportedPeerError", "Wave"]
