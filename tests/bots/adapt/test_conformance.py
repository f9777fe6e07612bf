"""The built-in adaptor passes the suite that ships for authors; broken ones do not."""

import numpy as np
import pytest

from bots.adapt import Adaptor, make_adaptor
from bots.adapt.conformance import (
    CHECKS,
    check_observation_untouched,
    check_same_input_same_values,
    check_starts_as_configured,
    check_state_restores_exactly,
    check_values_stay_in_range,
)
from bots.support.registry import names


def small(name):
    """The built-in adaptor with a small grid, which takes a fraction of the time."""
    options = {"lams": [0.0, 0.2], "rhos": [0.1, 1.0], "sample": 60, "recent": 60, "adapt_p_star": True}
    return lambda pool, *start: make_adaptor(name, pool, *start, options)


@pytest.mark.parametrize("name", names("adaptor"))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_built_in(name, check):
    check(small(name))


class Broken(Adaptor):
    """λ follows the batch's pass rate, except for the one fault it is made with."""

    def __init__(self, pool, prior, lam, rho, p_star, fault="none"):
        self.lam, self.rho, self.p_star, self.fault = lam, rho, p_star, fault
        if fault == "start":
            self.lam = 0.9

    def observe(self, observation, predict):
        self.lam = 0.9 * self.lam + 0.1 * float(observation.pass_rates.mean())
        if self.fault == "range":
            self.lam = float("nan")
        if self.fault == "random":
            self.lam = float(np.random.default_rng().random())
        if self.fault == "writes":
            observation.successes[:] = 0

    def state_dict(self):
        return {} if self.fault == "state" else {"lam": self.lam}

    def load_state_dict(self, state):
        self.lam = state.get("lam", self.lam)

    def metrics(self):
        return {}

    def grow(self, pool, prior):
        pass


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (check_starts_as_configured, "start"),
        (check_values_stay_in_range, "range"),
        (check_same_input_same_values, "random"),
        (check_observation_untouched, "writes"),
        (check_state_restores_exactly, "state"),
    ],
)
def test_suite_catches(check, fault):
    check(Broken)
    with pytest.raises(AssertionError):
        check(lambda *arguments: Broken(*arguments, fault))
