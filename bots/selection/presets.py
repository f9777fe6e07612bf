"""The named methods: each is a selector class and, where the method says so, λ, ρ and an evidence plug-in."""

from __future__ import annotations

from dataclasses import dataclass

BUILT_IN = {
    "bots": "bots.selection.thompson:Thompson",
    "greedy": "bots.selection.greedy:Greedy",
    "random": "bots.selection.random:Random",
    "offline": "bots.selection.offline:Offline",
    "mopps": "bots.selection.thompson:Thompson",
    "dots": "bots.selection.greedy:Greedy",
    "variance": "bots.selection.variance:Variance",
}


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
    """The preset of a method (ALGORITHM section 5).

    With forgetting by observation (MoPPS's own retention form) there is no implicit evidence, and λ, one
    minus the retention, is 0.5 unless given (MoPPS's default, not confirmed by the BOTS paper).
    """
    if forgetting == "observation":
        return Preset(lam=0.5, rho=0.0, evidence="none", fixed=("rho", "evidence"))
    if selector == "mopps":
        return Preset(lam=0.0, rho=0.0, evidence="none", fixed=("lam", "rho"))
    if selector == "dots":
        return Preset(lam=1.0, rho=1.0, fixed=("lam", "rho"))
    # Only where it was measured: in eight seeds of real training sooner half-way to random's best score than with
    # λ = ρ = .1, and no lower in the end (docs/study.md, "does it pay").
    return Preset(adaptor="predictive" if selector == "bots" else None)
