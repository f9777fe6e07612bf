"""Named methods: what λ, ρ, evidence and adaptor a selector's name stands for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Defaults of a named method; `fixed` ones define it, and another value is refused.

    lam: λ. rho: ρ. evidence: name of the plug-in. adaptor: name of the self-tuner of λ and ρ, where neither is given.
    forgetting: "step" or "observation". fixed: names of the settings that may not differ.
    """

    lam: float = 0.1
    rho: float = 0.1
    evidence: str = "auto"
    adaptor: str | None = None
    fixed: tuple[str, ...] = ()
    forgetting: str = "step"


OWN_ROLLOUTS = Preset(lam=0.0, rho=0.0, evidence="none")
"""Counts of a task's own rollouts, without forgetting and without implicit evidence. Also where the selector does not
look at the beliefs: then they only serve the metrics."""
NAMED = {
    # As the BOTS paper compares them (arXiv 2510.26374, experiments).
    "mopps": Preset(lam=0.0, rho=0.0, evidence="none", fixed=("lam", "rho")),
    "dots": Preset(lam=1.0, rho=1.0, fixed=("lam", "rho")),
    # As their own papers define them; see the selectors' classes.
    "mopps_retention": Preset(
        lam=0.5,
        rho=0.0,
        evidence="none",
        fixed=("rho", "evidence", "forgetting"),
        forgetting="observation",
    ),
    "dots_similarity": Preset(lam=1.0, rho=1.0, evidence="attention", fixed=("lam", "rho")),
    "adarft": OWN_ROLLOUTS,
    "greso": OWN_ROLLOUTS,
    "dps": OWN_ROLLOUTS,
    "gps": Preset(lam=1.0, rho=1.0, evidence="latent", fixed=("lam", "rho")),
    "insight": OWN_ROLLOUTS,
    "cures": OWN_ROLLOUTS,
    "vade": Preset(lam=0.8, rho=0.0, evidence="none", fixed=("rho", "evidence"), forgetting="observation"),
}
"""Methods whose beliefs differ from the default, by the selector's name."""


def preset_of(selector: str, forgetting: str = "default") -> Preset:
    """The preset of a method.

    forgetting: "step" or "observation", or "default": the method's own. With forgetting by observation (MoPPS's
    retention) there is no implicit evidence, and λ, one minus the retention, is 0.5 unless given (as in MoPPS's public
    scripts for Countdown and geometry, github.com/thu-rllab/MoPPS). A method that forgets by observation forgets
    nothing by step, unless λ is given.
    """
    named = NAMED.get(selector)
    if named is not None and ("forgetting" in named.fixed or forgetting in ("default", named.forgetting)):
        return named
    if forgetting == "observation":
        return Preset(lam=0.5, rho=0.0, evidence="none", fixed=("rho", "evidence"), forgetting="observation")
    if named is not None:
        return OWN_ROLLOUTS
    # Only where it was measured: over eight seeds of real training it reached half of random's best gain sooner than
    # λ = ρ = .1 did, and ended no lower (docs/study.md, "does it pay").
    return Preset(adaptor="predictive" if selector == "bots" else None)
