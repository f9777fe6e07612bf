"""The Beta update and the state-space belief on the checks that every belief model passes."""

from __future__ import annotations

from functools import partial

import pytest

from bots import BOTS
from bots.belief.conformance import CHECKS

BELIEFS = {
    "beta": partial(BOTS, adaptor=None, evidence="none"),
    "state_space": partial(BOTS, belief="state_space"),
    "of the pool's gain": partial(BOTS, belief="state_space", belief_options={"gain": True}),
    "many cells": partial(BOTS, belief="state_space", belief_options={"crowding": 0.25}),
    "without embeddings": partial(BOTS, belief="state_space", belief_options={"features": []}),
    "without anchors": partial(BOTS, belief="state_space", belief_options={"anchors": False, "draws": 1}),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("belief", BELIEFS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_belief(belief, check):
    check(BELIEFS[belief])
