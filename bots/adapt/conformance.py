"""Checks that every adaptor must pass. Its author runs them in a test file:

    import pytest
    from bots.adapt.conformance import CHECKS
    from mine import MyAdaptor

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_adaptor(check):
        check(lambda pool, prior, lam, rho, p_star: MyAdaptor(pool, prior, lam, rho, p_star, my_option=3))

A factory takes the constructor's arguments and returns a fresh adaptor.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bots.adapt.interface import Adaptor, PriorCounts
from bots.pool import TaskPool
from bots.pool.example import example_pool
from bots.support.arrays import Float32, Rows
from bots.support.conformance import require_finite_metrics, require_same_results, require_state
from bots.support.observation import Observation

Factory = Callable[[TaskPool, PriorCounts, float, float, float], Adaptor]
START = 0.1, 0.2, 0.5
"""λ, ρ and p* that the adaptors start from."""


def _prior(rows: Rows) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    return 1.0, 1.0


def _make(make: Factory, pool: TaskPool) -> Adaptor:
    return make(pool, _prior, *START)


def _predict(rows: Rows) -> Float32:
    """Some rate for two tasks of three, none for the third."""
    rates = (rows % 7 / 7).astype(np.float32)
    rates[rows % 3 == 0] = np.nan
    return rates


def _nothing(rows: Rows) -> Float32:
    return np.full(len(rows), np.nan, np.float32)


def _observation(wave: int, size: int = 16, tasks: int = 300) -> Observation:
    rng = np.random.default_rng(wave)
    rows = np.sort(rng.choice(tasks, size, replace=False)).astype(np.int64)
    n = rng.integers(1, 17, size)
    return Observation.of_rates(wave, rows, rng.binomial(n, rows % 10 / 10) / n, n)


def _run(adaptor: Adaptor, first: int, last: int) -> list[tuple[float, float, float]]:
    """λ, ρ and p* after each of the waves."""
    values = []
    for wave in range(first, last):
        adaptor.observe(_observation(wave), _predict)
        values.append((adaptor.lam, adaptor.rho, adaptor.p_star))
        _require_range(adaptor, f"after wave {wave}")
    return values


def _part(adaptor: Adaptor, part: int) -> list[tuple[float, float, float]]:
    return _run(adaptor, 8 * part, 8 * part + 8)


def _require_range(adaptor: Adaptor, when: str) -> None:
    if not (0 <= adaptor.lam <= 1 and 0 <= adaptor.rho <= 1 and 0 < adaptor.p_star < 1):
        raise AssertionError(
            f"{when}: lam = {adaptor.lam}, rho = {adaptor.rho}, p_star = {adaptor.p_star}; "
            "they must be in [0, 1], [0, 1] and (0, 1)"
        )


def check_starts_as_configured(make: Factory) -> None:
    """Before the first observation λ, ρ and p* are the configured ones."""
    adaptor = _make(make, example_pool())
    if (adaptor.lam, adaptor.rho, adaptor.p_star) != START:
        raise AssertionError(
            f"starts at {(adaptor.lam, adaptor.rho, adaptor.p_star)}, configured was {START}"
        )


def check_values_stay_in_range(make: Factory) -> None:
    """λ, ρ and p* stay numbers in range over thirty waves."""
    _run(_make(make, example_pool()), 0, 30)


def check_hard_observations(make: Factory) -> None:
    """All right, all wrong, one task, one rollout, fractional rewards and missing predictions break nothing."""
    adaptor = _make(make, example_pool())
    rows = np.arange(16, dtype=np.int64)
    hard = [Observation.of_rates(0, rows, rate, n) for rate in (0.0, 1.0, 0.37) for n in (1, 16)]
    hard += [Observation.of_rates(0, rows[:1], 0.5, 8), Observation.of_rates(0, rows, 1e-9, 16)]
    for wave, observation in enumerate(hard):
        for predict in (_nothing, _predict):
            again = Observation.of_rates(
                2 * wave, observation.rows, observation.pass_rates, observation.rollouts
            )
            adaptor.observe(again, predict)
            _require_range(adaptor, f"after hard observation {wave}")


def check_late_waves_and_parts(make: Factory) -> None:
    """Waves may be skipped, come late, or come in parts."""
    adaptor = _make(make, example_pool())
    for wave in (5, 5, 3, 9, 4, 40, 9):
        adaptor.observe(_observation(wave), _predict)
        _require_range(adaptor, f"after wave {wave}")


def check_same_input_same_values(make: Factory) -> None:
    """Two fresh adaptors with the same observations tune the same."""
    require_same_results(lambda: _make(make, example_pool()), _part)


def check_p_star_can_be_set(make: Factory) -> None:
    """`BOTS.retune` sets `p_star`; later observations start from it."""
    adaptor = _make(make, example_pool())
    _run(adaptor, 0, 3)
    adaptor.p_star = 0.4
    if adaptor.p_star != 0.4:
        raise AssertionError(f"p_star was set to 0.4, but is {adaptor.p_star}")
    _run(adaptor, 3, 6)


def check_observation_untouched(make: Factory) -> None:
    """The observation's arrays are not written to."""
    observation = _observation(0)
    before = [getattr(observation, name).copy() for name in ("rows", "successes", "rollouts", "variance")]
    adaptor = _make(make, example_pool())
    adaptor.observe(observation, _predict)
    _run(adaptor, 1, 4)
    for name, values in zip(("rows", "successes", "rollouts", "variance"), before, strict=True):
        if not np.array_equal(getattr(observation, name), values):
            raise AssertionError(f"observe changed the observation's {name}")


def check_state_restores_exactly(make: Factory) -> None:
    """An adaptor that loads another's state continues exactly like it, and shares no memory with it."""
    require_state(lambda: _make(make, example_pool()), _part)


def check_growing(make: Factory) -> None:
    """After the pool grew, new tasks can be observed."""
    adaptor = _make(make, example_pool(300))
    _run(adaptor, 0, 5)
    adaptor.grow(example_pool(420), _prior)
    adaptor.observe(Observation.of_rates(5, np.arange(290, 420, 10), 0.5, 8), _predict)
    _require_range(adaptor, "after observing new tasks")


def check_metrics(make: Factory) -> None:
    """Metrics are finite numbers, before and after observing."""
    require_finite_metrics(_make(make, example_pool()), _part)


CHECKS: tuple[Callable[[Factory], None], ...] = (
    check_starts_as_configured,
    check_values_stay_in_range,
    check_hard_observations,
    check_late_waves_and_parts,
    check_same_input_same_values,
    check_p_star_can_be_set,
    check_observation_untouched,
    check_state_restores_exactly,
    check_growing,
    check_metrics,
)
