"""The settings of a BOTS: checked, with the selector's preset filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import nan
from numbers import Real
from typing import Any

from bots.belief.prior import AnchorPrior
from bots.pool import TaskPool
from bots.selection.presets import Preset, preset_of
from bots.support.checks import whole

HISTORY = 256
"""Default number of waves that a BOTS remembers."""
COOLDOWN = 15
"""Default cool-down, in waves, where λ and ρ tune themselves. Without it selection cycles through few tasks, and the
policy ends lower (docs/study.md, "a wider circle")."""
AUTO, BETA, STATE_SPACE = "auto", "beta", "state_space"
"""Beliefs: the one that suits the pool, the paper's update, and the filter (docs/beliefs.md)."""
MANY_CELLS = {"crowding": 0.25}
"""Options of the filter where `auto` takes it for a pool with levels, as measured in real training (docs/study.md,
"many cells" and "beliefs by domain"). Without levels a cell is a domain; it was measured without options ("prompts
alone")."""
UNIFORM = (1.0, 1.0)
"""The paper's prior pseudo-counts."""
PRIOR_STRENGTH = 8.0
"""Rollouts that reference pass rates count for in the prior that `auto` takes where they are known: as many as a group
has in the lab, where it was measured (docs/study.md, "a prior from the reference models")."""


@dataclass(frozen=True)
class Settings:
    """The resolved settings of a BOTS, which documents the fields."""

    p_star: float
    lam: float
    rho: float
    rollouts: int
    seed: int
    selector: str
    selector_options: dict[str, Any]
    evidence: str
    evidence_options: dict[str, Any]
    forgetting: str
    adaptor: str | None
    adaptor_options: dict[str, Any]
    domain_shares: dict[str, float] | str | None
    cooldown: int
    retire_above: float | None
    recheck: int
    history: int
    threads: int | None
    belief: str = BETA
    belief_options: dict[str, Any] = field(default_factory=dict)
    allocation: str = "even"
    allocation_options: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All fields, as JSON values if the options are JSON values."""
        return asdict(self)


def resolve(
    *,
    lam: float | None,
    rho: float | None,
    evidence: str | None,
    selector: str,
    forgetting: str,
    adaptor: str | None,
    cooldown: int | None,
    belief: str = BETA,
    **others: Any,
) -> Settings:
    """Fill in the selector's preset and the defaults that depend on other settings, and check every value.

    evidence, adaptor, forgetting: "default" is the selector's default; the adaptor's applies only if neither λ nor ρ is
    given. belief: "auto" counts as beta here; see `belief_for`.
    Raises ValueError that names the setting, for a value out of range or ruled out by the preset.
    """
    if not isinstance(belief, str):
        raise ValueError(  # noqa: TRY004
            f'belief is {belief!r}; it must be "auto", "beta", "state_space" or "module:Class"'
        )
    for name in (
        "selector_options",
        "evidence_options",
        "adaptor_options",
        "belief_options",
        "allocation_options",
    ):
        others[name] = dict(others.get(name) or {})
    if isinstance(others["domain_shares"], Mapping):
        others["domain_shares"] = dict(others["domain_shares"])
    if forgetting not in ("default", "step", "observation"):
        raise ValueError(f'forgetting is {forgetting!r}; it must be "step" or "observation"')
    preset = preset_of(selector, forgetting)
    if belief not in (AUTO, BETA):
        _refuse_of_beta(belief, lam, rho, evidence, selector, forgetting, adaptor)
        preset, adaptor = Preset(lam=0.0, rho=0.0, evidence="none"), None
        evidence = "none"
        cooldown = min(COOLDOWN, others["history"]) if cooldown is None else cooldown
    elif others.get("belief_options"):
        raise ValueError(
            f"belief_options are {others['belief_options']}, but belief {belief!r} takes none: leave them out, or name "
            "another belief"
        )
    given: dict[str, Any] = {
        "lam": lam,
        "rho": rho,
        "evidence": None if evidence == "default" else evidence or "none",
        "forgetting": None if forgetting == "default" else forgetting,
    }
    resolved: dict[str, Any] = {}
    for name, value in given.items():
        default = getattr(preset, name)
        if value is not None and name in preset.fixed and value != default:
            by_selector = forgetting != "observation" or "forgetting" in preset.fixed
            method = f"selector {selector!r}" if by_selector else "forgetting by observation"
            raise ValueError(
                f"{method} is defined by {name}={default!r}, but {value!r} was given; leave it out"
            )
        resolved[name] = default if value is None else value
    for name in ("lam", "rho"):
        resolved[name] = share(name, resolved[name])
    others["p_star"] = target(others["p_star"])
    for name, least in (("rollouts", 1), ("seed", 0), ("recheck", 1), ("history", 1)):
        others[name] = whole(name, others[name], least)
    if adaptor == "default":
        adaptor = own_adaptor(preset, given)
    if adaptor == "none":
        adaptor = None
    if adaptor is None and others["adaptor_options"]:
        raise ValueError(
            f"adaptor_options are {others['adaptor_options']}, but there is no adaptor: name one, or leave them out"
        )
    if cooldown is None:
        cooldown = min(COOLDOWN, others["history"]) if adaptor is not None else 0
    cooldown = whole("cooldown", cooldown, 0)
    if cooldown > others["history"]:
        raise ValueError(
            f"cooldown is {cooldown} steps, but only the last {others['history']} are remembered (history)"
        )
    if others["threads"] is not None:
        others["threads"] = whole("threads", others["threads"], 1)
    if others["retire_above"] is not None and share("retire_above", others["retire_above"]) == 0:
        raise ValueError("retire_above is 0; it must be in (0, 1], or None")
    if adaptor is not None and preset.fixed:
        raise ValueError(f"adaptor {adaptor!r} would change what selector {selector!r} fixes; leave it out")
    return Settings(
        **resolved,
        selector=selector,
        adaptor=adaptor,
        cooldown=cooldown,
        belief=belief,
        **others,
    )


def belief_for(pool: TaskPool, **given: Any) -> dict[str, Any]:
    """What belief "auto" stands for: `belief`, and `belief_options` where it has any; given: arguments of `bots.BOTS`.

    The state-space belief where no task's reference pass rates are known and levels or embeddings tell tasks apart: it
    learns there what the Beta update would have to be told. Else, with another selector than `bots` and where a setting
    of the Beta update is given, that update.
    """
    if untouched(**given) and not pool.anchored and (pool.has_levels or pool.has_embeddings):
        return {"belief": STATE_SPACE, "belief_options": dict(MANY_CELLS) if pool.has_levels else {}}
    return {"belief": BETA}


def prior_for(pool: TaskPool, *, belief: str, **given: Any) -> AnchorPrior | tuple[float, float]:
    """What prior "auto" stands for; belief: no longer "auto". given: the other arguments of `bots.BOTS`.

    From the reference pass rates where the pool has any and the Beta update is as it comes, for that is what was
    measured. (1, 1), the paper's, where a setting of the update or another selector is given, so that it is the
    method of that name; and with other beliefs, which learn for themselves what reference pass rates say.
    """
    if belief == BETA and pool.anchored and untouched(**given):
        return AnchorPrior(PRIOR_STRENGTH)
    return UNIFORM


def untouched(
    *,
    selector: str = "bots",
    lam: float | None = None,
    rho: float | None = None,
    evidence: str | None = "default",
    adaptor: str | None = "default",
    forgetting: str = "default",
    **others: Any,
) -> bool:
    """Whether selector and Beta update are as they come: then the defaults of the belief depend on the pool."""
    options = any(others.get(f"{name}_options") for name in ("selector", "evidence", "adaptor", "belief"))
    return (
        (selector, evidence, adaptor) == ("bots", "default", "default")
        and lam is None
        and rho is None
        and forgetting in ("default", "step")
        and not options
    )


def _refuse_of_beta(
    belief: str,
    lam: float | None,
    rho: float | None,
    evidence: str | None,
    selector: str,
    forgetting: str,
    adaptor: str | None,
) -> None:
    """ValueError where a setting of the Beta update is given with another belief."""
    if "lam" in preset_of(selector).fixed or "forgetting" in preset_of(selector).fixed:
        raise ValueError(
            f"selector {selector!r} is defined by λ and ρ of belief 'beta', but belief is {belief!r}; take another "
            "selector or belief 'beta'"
        )
    given = {
        "lam": lam not in (None, 0),
        "rho": rho not in (None, 0),
        "evidence": evidence not in (None, "default", "none"),
        "adaptor": adaptor not in (None, "default"),
        "forgetting": forgetting not in ("default", "step"),
    }
    values = {"lam": lam, "rho": rho, "evidence": evidence, "adaptor": adaptor, "forgetting": forgetting}
    for name, is_given in given.items():
        if is_given:
            raise ValueError(
                f"{name} is {values[name]!r}, a setting of belief 'beta' that belief {belief!r} has not; leave it out"
            )


def share(name: str, value: Any) -> float:
    """The value as a float. Raises ValueError for anything but a number in [0, 1]."""
    number = _number(value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} is {value!r}; it must be a number in [0, 1]")
    return number


def target(value: Any) -> float:
    """p* as a float. Raises ValueError for anything but a number strictly between 0 and 1."""
    number = _number(value)
    if not 0 < number < 1:
        raise ValueError(f"p_star is {value!r}; it must be a number greater than 0 and less than 1")
    return number


def _number(value: Any) -> float:
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else nan


def own_adaptor(preset: Preset, given: Mapping[str, Any]) -> str | None:
    """The adaptor of a selector's preset, unless λ or ρ is given: what the user sets is not tuned."""
    return preset.adaptor if given.get("lam") is None and given.get("rho") is None else None
