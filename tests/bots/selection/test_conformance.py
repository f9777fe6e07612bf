"""Every built-in selector passes the suite that ships for authors; broken ones do not, and `BOTS` names them."""

import numpy as np
import pytest

from bots import BOTS
from bots.pool.example import example_pool
from bots.selection import Selector, SelectorError, make_selector
from bots.selection.conformance import (
    CHECKS,
    check_all_randomness_is_the_generator_s,
    check_beliefs_untouched,
    check_blocked_rows_stay_out,
    check_domains,
    check_state_restores_exactly,
)
from bots.support.registry import names


@pytest.mark.parametrize("name", names("selector"))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_built_in(name, check):
    check(lambda pool: make_selector(name, pool))


VARIANTS = [
    *((name, {"candidates": None}) for name in ("insight", "mopps_retention", "dps")),
    ("adarft", {"difficulty": "level"}),
    ("cures", {"replacement": False}),
    ("gps", {"diversity": 0.0}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_built_in_with_options(name, options, check):
    check(lambda pool: make_selector(name, pool, options))


class Broken(Selector):
    """Selects rows that are free and in the domain, except for the one fault it is made with."""

    def __init__(self, pool, fault="none"):
        super().__init__(pool)
        self.fault, self.calls = fault, 0

    def select(self, beliefs, request, rng):
        free = np.arange(len(beliefs)) if self.fault == "blocked" else np.flatnonzero(beliefs.blocked == 0)
        if request.domain >= 0 and self.fault != "domain":
            free = free[beliefs.pool.domain_codes[free] == request.domain]
        if self.fault == "hidden randomness":
            rng = np.random.default_rng()
        self.calls += self.fault == "hidden state"
        rows = rng.permutation(free)[: request.batch] if request.batch < len(free) else free[: request.batch]
        rows = np.roll(np.sort(free), -self.calls)[: request.batch] if self.fault == "hidden state" else rows
        if self.fault == "beliefs":
            beliefs.alpha[rows] += 1
        if self.fault == "repeated":
            rows[1] = rows[0]
        if self.fault == "range":
            rows[0] = len(beliefs)
        if self.fault == "short":
            rows = rows[:-1]
        return rows.astype(float) if self.fault == "dtype" else rows


HERE = f"{__name__}:Broken"


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (check_blocked_rows_stay_out, "blocked"),
        (check_domains, "domain"),
        (check_all_randomness_is_the_generator_s, "hidden randomness"),
        (check_state_restores_exactly, "hidden state"),
        (check_beliefs_untouched, "beliefs"),
    ],
)
def test_suite_catches(check, fault):
    check(Broken)
    with pytest.raises((AssertionError, SelectorError)):
        check(lambda pool: Broken(pool, fault))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("blocked", ["which is blocked"]),
        ("domain", ["not of the requested domain"]),
        ("repeated", ["2 times", "distinct"]),
        ("range", ["row 300", "0 to 299"]),
        ("short", ["shape"]),
        ("dtype", ["float64", "integers"]),
    ],
)
def test_what_a_selector_returned_is_checked(fault, words):
    bots = BOTS(
        example_pool(),
        selector=HERE,
        selector_options={"fault": fault},
        domain_shares={"math": 1, "code": 1} if fault == "domain" else None,
    )
    exclude = np.arange(150) if fault == "blocked" else ()
    with pytest.raises(SelectorError) as caught:
        bots.select(64, exclude=exclude)
    for word in [HERE, *words]:
        assert word in str(caught.value)
    assert not bots._parts.history.waves, "a refused selection is not awaited"
    assert not bots._parts.beliefs.blocked.any()
