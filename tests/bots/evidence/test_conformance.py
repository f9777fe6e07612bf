"""Every built-in plug-in passes the suite that ships for plug-in authors; a broken one does not."""

import numpy as np
import pytest

from bots.evidence.attention import Attention
from bots.evidence.auto import Auto
from bots.evidence.base import Evidence
from bots.evidence.conformance import (
    CHECKS,
    check_blocks_agree,
    check_hard_batches,
    check_state_restores_exactly,
    example_pool,
)
from bots.evidence.interpolation import Interpolation
from bots.evidence.item_response import ItemResponse
from bots.evidence.latent import Latent
from bots.evidence.neighbours import Neighbours
from bots.evidence.none import NoEvidence
from bots.evidence.online import Online
from bots.support.observation import Observation

PLUG_INS = {
    "auto": Auto,
    "none": NoEvidence,
    "attention": Attention,
    "attention-landmarks": lambda pool: Attention(pool, landmarks=50, memory=60),
    "latent": Latent,
    "latent-projected": lambda pool: Latent(pool, dimensions=3),
    "interpolation": Interpolation,
    "interpolation-pool": lambda pool: Interpolation(pool, per_domain=False),
    "item_response": ItemResponse,
    "item_response-pool": lambda pool: ItemResponse(pool, per_domain=False),
    "neighbours": Neighbours,
    "neighbours-landmarks": lambda pool: Neighbours(pool, landmarks=50, memory=60),
    "online": Online,
    "online-levels": lambda pool: Online(pool, columns=["domain", "level"]),
}


@pytest.mark.parametrize("make", PLUG_INS.values(), ids=PLUG_INS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_built_in(make, check):
    check(make)


class Naive(Evidence):
    """The paper's formula without any care: the suite must catch it."""

    def __init__(self, pool):
        super().__init__(pool)
        self.mu = 0.0

    def observe(self, observation):
        rows, p_hat = observation.rows, observation.pass_rates
        weak, strong = self.pool.weak[rows], self.pool.strong[rows]
        with np.errstate(all="ignore"):
            self.mu = 0.9 * self.mu + 0.1 * (np.mean(p_hat) - np.mean(weak)) / (
                np.mean(strong) - np.mean(weak)
            )

    def predict(self, start, stop, out):
        out[:] = np.clip(
            self.pool.weak[start:stop] + self.mu * (self.pool.strong - self.pool.weak)[start:stop], 0, 1
        )
        out[-1] = 0.123  # depends on the block

    def state_dict(self):
        return {"mu": float(self.mu)}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize("check", [check_hard_batches, check_blocks_agree, check_state_restores_exactly])
def test_suite_catches_a_broken_plug_in(check):
    with pytest.raises(AssertionError):
        check(Naive)


def test_a_plug_in_with_four_arguments_still_works():
    """`observe(step, rows, p_hat, n)` was the interface before observations had a class."""
    with pytest.warns(DeprecationWarning, match="Old.observe takes"):

        class Old(Interpolation):
            def observe(self, step, rows, p_hat, n):
                self.seen = step, rows, p_hat, n

    evidence = Old(example_pool())
    evidence.observe(Observation.of_rates(3, np.array([5, 9]), [0.25, 1.0], [8, 4]))
    step, rows, p_hat, n = evidence.seen
    assert step == 3
    assert (rows.tolist(), p_hat.tolist(), n.tolist()) == ([5, 9], [0.25, 1.0], [8.0, 4.0])
