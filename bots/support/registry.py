"""Every plug-in that can be named in a configuration: the built-in names, and how a name becomes an object.

A user's plug-in needs no entry here: it is named "module:Class" or "module:function", with its options beside it.
The interface of each kind, and the conformance suite that ships with it:

    selector    bots.selection.base.Selector          bots.selection.conformance
    evidence    bots.evidence.base.Evidence           bots.evidence.conformance
    adaptor     bots.adapt.interface.Adaptor          bots.adapt.conformance
    belief      bots.belief.base.BeliefModel          bots.belief.conformance
    allocation  bots.allocation.base.Allocation       bots.allocation.conformance
    loss        bots.learning.losses.PolicyLoss       bots.learning.conformance
    grader      bots.graders.base.Grader              bots.graders.conformance
    weight_sync actors.weights.sync.WeightSync        actors.weights.conformance
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any, TypeVar

from bots.support.checks import of_type

T = TypeVar("T")

BUILT_IN: dict[str, dict[str, str]] = {
    "selector": {
        "bots": "bots.selection.thompson:Thompson",
        "greedy": "bots.selection.greedy:Greedy",
        "random": "bots.selection.random:Random",
        "offline": "bots.selection.offline:Offline",
        "mopps": "bots.selection.thompson:Thompson",
        "dots": "bots.selection.greedy:Greedy",
        "variance": "bots.selection.variance:Variance",
        "adarft": "bots.selection.adarft:AdaRFT",
        "greso": "bots.selection.greso:GRESO",
        "cures": "bots.selection.cures:CurES",
        "dots_similarity": "bots.selection.soft_target:SoftTarget",
        "dps": "bots.selection.dps:DPS",
        "gps": "bots.selection.gps:GPS",
        "insight": "bots.selection.insight:InSight",
        "mopps_retention": "bots.selection.mopps:MoPPS",
        "vade": "bots.selection.vade:VADE",
    },
    "evidence": {
        "auto": "bots.evidence.auto:Auto",
        "none": "bots.evidence.none:NoEvidence",
        "interpolation": "bots.evidence.interpolation:Interpolation",
        "item_response": "bots.evidence.item_response:ItemResponse",
        "neighbours": "bots.evidence.neighbours:Neighbours",
        "online": "bots.evidence.online:Online",
        "attention": "bots.evidence.attention:Attention",
        "latent": "bots.evidence.latent:Latent",
    },
    "adaptor": {
        "predictive": "bots.adapt.grid:PredictiveGrid",
    },
    "belief": {
        "beta": "bots.belief.update:Posterior",
        "state_space": "bots.belief.state_space.model:StateSpace",
    },
    "allocation": {
        "even": "bots.allocation.even:Even",
        "knapsack": "bots.allocation.knapsack:Knapsack",
        "signal": "bots.allocation.signal:Signal",
        "until_signal": "bots.allocation.until_signal:UntilSignal",
        "speed": "bots.allocation.speed:Speed",
        "cures": "bots.allocation.cures:CurESAllocation",
    },
    "loss": {
        "grpo": "bots.learning.losses:GRPO",
        "dr_grpo": "bots.learning.losses:DR_GRPO",
        "dapo": "bots.learning.losses:DAPO",
        "gspo": "bots.learning.losses:GSPO",
        "rloo": "bots.learning.losses:RLOO",
    },
    "weight_sync": {
        "object_store": "actors.weights.sync:ObjectStoreSync",
        "broadcast": "actors.weights.sync:BroadcastSync",
    },
    "grader": {
        "math": "bots.graders.math:grade",
        "code": "bots.graders.code:grade",
        "logic": "bots.graders.logic:grade",
        "exact": "bots.graders.exact:grade",
        "codeio": "bots.graders.codeio:grade",
        "cruxeval": "bots.graders.cruxeval:grade",
        "table": "bots.graders.table:grade",
        "stem": "bots.graders.stem:grade",
        "judge": "bots.graders.judge:grade",
        "reasoning_gym": "bots.graders.reasoning_gym:grade",
        "format_boxed": "bots.graders.form:grade_boxed",
        "format_answer_tags": "bots.graders.form:grade_answer_tags",
        "format_think": "bots.graders.form:grade_think",
        "format_code_block": "bots.graders.form:grade_code_block",
        "lab_math": "bots.lab.graders:grade_math",
        "lab_logic": "bots.lab.graders:grade_logic",
        "lab_code": "bots.lab.graders:grade_code",
    },
}
"""Kind → name → "module:attribute". A module is imported only when its plug-in is loaded."""


def names(kind: str) -> list[str]:
    """The built-in names of a kind, in the order of the table."""
    return list(BUILT_IN[kind])


def load(kind: str, name: str) -> Any:
    """The class, function or object that a plug-in's name stands for, imported now.

    kind: a key of `BUILT_IN`. name: a built-in name of that kind, or "module:attribute".
    Raises ValueError for an unknown name, and for a module or attribute that cannot be loaded.
    """
    target = BUILT_IN[kind].get(name, name)
    module_name, _, attribute = target.partition(":")
    if not attribute:
        known = ", ".join(sorted(BUILT_IN[kind]))
        raise ValueError(f'unknown {kind} {name!r}; known are {known}, or "module:Class" for your own')
    try:
        return getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{kind} {name!r} cannot be loaded: {error}") from error


def load_class(kind: str, name: str, base: type[T]) -> type[T]:
    """The class behind a plug-in's name. Raises ValueError as `load`, and for anything but a subclass of `base`."""
    found = load(kind, name)
    if isinstance(found, type) and issubclass(found, base):
        return found
    raise ValueError(f"{kind} {name!r} is not a subclass of {base.__name__}")


def make(kind: str, name: str, base: type[T], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> T:
    """A plug-in constructed as `cls(*arguments, **options)`.

    Raises ValueError as `load_class`, and for options the class does not take; the class's own errors pass through.
    """
    cls = load_class(kind, name, base)
    check_options(kind, name, cls, arguments, options)
    return cls(*arguments, **options)


def check_options(
    kind: str, name: str, target: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]
) -> None:
    """Raise ValueError unless `target(*arguments, **options)` is a call that Python accepts.

    Options of built-in plug-ins must also be what their annotations say; what a user's own mean is not known here.
    """
    try:
        called = signature(target)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{kind} {name!r}: what it takes can't be read ({error}); wrap it in a function"
        ) from error
    try:
        called.bind(*arguments, **options)
    except TypeError as error:
        takes = ", ".join(list(called.parameters)[len(arguments) :]) or "none"
        raise ValueError(f"{kind} {name!r}: {error}; its options: {takes}") from error
    if name in BUILT_IN[kind]:
        for option, value in options.items():
            if option in called.parameters:
                of_type(f"{kind} {name!r}: {option}", value, called.parameters[option].annotation)
