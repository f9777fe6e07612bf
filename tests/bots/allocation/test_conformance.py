"""Every built-in allocation passes the suite that ships for authors; broken ones do not, and `BOTS` names them."""

import numpy as np
import pytest

from bots import BOTS
from bots.allocation import Allocation, AllocationError, make_allocation
from bots.allocation.conformance import (
    CHECKS,
    check_all_randomness_is_the_generator_s,
    check_any_wave,
    check_beliefs_untouched,
    check_rounds_end,
    check_state_restores_exactly,
)
from bots.pool.example import example_pool
from bots.support.registry import names

VARIANTS = [(name, {}) for name in names("allocation")] + [
    ("signal", {"measure": "variance"}),
    ("signal", {"measure": "mixed", "least": 4, "most": 40}),
    ("until_signal", {"until": "balanced", "size": 5, "rounds": 3}),
    ("until_signal", {"until": "positive"}),
    ("speed", {"screening": 4}),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=lambda value: str(value))
def test_built_in(name, options, check):
    if options.get("most") == 40 and check is check_any_wave:
        pytest.skip("its bounds rule out 64 rollouts per task")
    check(lambda pool: make_allocation(name, pool, options))


class Broken(Allocation):
    """Gives n to every task, except for the one fault it is made with."""

    def __init__(self, pool, fault="none"):
        super().__init__(pool)
        self.fault, self.calls = fault, 0

    def allocate(self, beliefs, request, rng):
        sizes = np.full(len(request), request.rollouts, np.int64)
        sizes[-1] += round(request.budget / request.costs.mean()) - sizes.sum()
        if self.fault == "hidden randomness":
            rng = np.random.default_rng()
        self.calls += self.fault == "hidden state"
        if self.fault in ("hidden randomness", "hidden state") and len(sizes) > 1:
            # Every pair by its own shift: two instances must not agree by chance.
            pairs = len(sizes) // 2
            shift = self.calls % 5 if self.fault == "hidden state" else rng.integers(1, 5, pairs)
            sizes[: 2 * pairs : 2] += shift
            sizes[1 : 2 * pairs : 2] -= shift
        if self.fault == "beliefs":
            beliefs.alpha[request.rows] += 1
        if self.fault == "small" and len(sizes) > 1:
            sizes[:2] = [1, sizes[0] + sizes[1] - 1]
        if self.fault == "large":
            sizes[:] = 2
            sizes[0] = 10_000
        if self.fault == "more":
            sizes[0] += 1
        if self.fault == "less":
            sizes[0] -= 1
        if self.fault == "short":
            sizes = sizes[:-1]
        return sizes.astype(float) if self.fault == "dtype" else sizes

    def more(self, rewards, rollouts):
        return 4 if self.fault == "endless" else -1 if self.fault == "negative" else 0


HERE = f"{__name__}:Broken"


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (check_any_wave, "small"),
        (check_any_wave, "less"),
        (check_all_randomness_is_the_generator_s, "hidden randomness"),
        (check_state_restores_exactly, "hidden state"),
        (check_beliefs_untouched, "beliefs"),
        (check_rounds_end, "endless"),
        (check_rounds_end, "negative"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_fault_fails_its_check(check, fault):
    with pytest.raises((AssertionError, AllocationError)):
        check(lambda pool: Broken(pool, fault))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("small", "1 completions for row .*at least 2 are allowed"),
        ("large", "10000 completions for row .*at most 64 are allowed"),
        ("more", "cost 65; the budget is 64"),
        ("less", "cost 63, although the budget of 64 has room for more"),
        ("short", r"shape \(7,\); one number for each of 8 tasks"),
        ("dtype", "dtype float64; numbers of completions are integers"),
    ],
)
def test_what_it_returns_is_checked_and_the_plug_in_named(fault, words):
    bots = BOTS(example_pool(), rollouts=8, allocation=HERE, allocation_options={"fault": fault})
    with pytest.raises(AllocationError, match=f"(?s){HERE}.*{words}"):
        bots.allocate(bots.select(8))


@pytest.mark.parametrize(
    ("fault", "words"),
    [("endless", "4 more completions for a group of 62; .* at most 64"), ("negative", "-1 more")],
)
def test_so_is_the_number_of_further_completions(fault, words):
    bots = BOTS(example_pool(), rollouts=8, allocation=HERE, allocation_options={"fault": fault})
    with pytest.raises(AllocationError, match=f"(?s){HERE}.*{words}"):
        bots.allocator.more(np.zeros(62))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"allocation": "nothing"},
            "unknown allocation 'nothing'; known are cures, even, knapsack, signal, speed, until_signal",
        ),
        ({"allocation_options": {"most": 4}}, "allocation 'even': got an unexpected keyword argument 'most'"),
        ({"allocation": "signal", "allocation_options": {"least": 1}}, "least is 1; .* at least 2"),
        ({"allocation": "signal", "allocation_options": {"least": 9}}, "8 rollouts per task are not within"),
        ({"allocation": "signal", "allocation_options": {"most": 4}}, "8 rollouts per task are not within"),
        (
            {"allocation": "signal", "allocation_options": {"least": 4, "most": 3}},
            "most is 3, less than least = 4",
        ),
        (
            {"allocation": "signal", "allocation_options": {"measure": "luck"}},
            "measure is 'luck'; known are dev",
        ),
        (
            {"allocation": "until_signal", "allocation_options": {"until": "luck"}},
            "until is 'luck'; known are sig",
        ),
        (
            {"allocation": "speed", "allocation_options": {"screening": 8}},
            "8 completions, but .* only 8 roll",
        ),
        ({"allocation": "speed", "allocation_options": {"screening": 1}}, "screening is 1; .* at least 2"),
        (
            {"allocation": "until_signal", "allocation_options": {"size": 9}},
            "a round has 9 completions, more than",
        ),
        ({"allocation": "until_signal", "allocation_options": {"rounds": 0}}, "rounds is 0; .* at least 1"),
    ],
)
def test_settings_are_refused_before_anything_starts(settings, words):
    with pytest.raises(ValueError, match=words):
        BOTS(example_pool(), rollouts=8, **settings)


def test_bad_requests_are_refused():
    bots = BOTS(example_pool(), rollouts=8, allocation="signal", allocation_options={"least": 4})
    rows = bots.select(8)
    with pytest.raises(
        ValueError, match="budget is 31, but 8 tasks cost at least 32 with 4 completions each"
    ):
        bots.allocate(rows, 31)
    with pytest.raises(ValueError, match=r"budget is 64.5; it must be a whole number"):
        bots.allocate(rows, 64.5)
    with pytest.raises(ValueError, match="a task twice"):
        bots.allocate([1, 1])
    with pytest.raises(ValueError, match=r"rows\[0\] is 300"):
        bots.allocate([300])
    with pytest.raises(ValueError, match=r"cost has shape \(3,\)"):
        bots.allocate(rows, cost=[1, 2, 3])
    with pytest.raises(ValueError, match=r"cost\[2\] is nan"):
        bots.allocate(rows, cost=[1, 1, np.nan, 1, 1, 1, 1, 1])
