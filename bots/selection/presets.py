"""Named methods: what λ, ρ, evidence and adaptor a selector's name stands for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Defaults of a named method; `fixed` ones define it, and another value is refused.

    lam: λ. rho: ρ. evidence: name of the plug-in. adaptor: name of the self-tuner of λ and ρ, where neither is given.
    fixed: names of the settings that may not differ.
    """

    lam: float = 0.1
    rho: float = 0.1
    evidence: str = "auto"
    adaptor: str | None = None
    fixed: tuple[str, ...] = ()


def preset_of(selector: str, forgetting: str) -> Preset:
    """The preset of a method, as the paper compares them (arXiv 2510.26374, experiments).

    With forgetting by observation (MoPPS's own retention form) there is no implicit evidence, and λ, one
    minus the retention, is 0.5 unless given (MoPPS's default, not confirmed by the BOTS paper).
    """
    if forgetting == "observation":
        return Preset(lam=0.5, rho=0.0, evidence="none", fixed=("rho", "evidence"))
    if selector == "mopps":
        return Preset(lam=0.0, rho=0.0, evidence="none", fixed=("lam", "rho"))
    if selector == "dots":
        return Preset(lam=1.0, rho=1.0, fixed=("lam", "rho"))
    # Only where it was measured: over eight seeds of real training it reached half of random's best gain sooner than
    # λ = ρ = .1 did, and ended no lower (docs/study.md, "does it pay").
    return Preset(adaptor="predictive" if selector == "bots" else None)
