"""Section `selection`: which tasks come next."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from bots.belief.prior import AnchorPrior
from bots.config.tree import (
    AS_FILE,
    Count,
    Positive,
    Section,
    Share,
    plug_in,
)
from bots.pool import TaskPool
from bots.selection.presets import Preset, preset_of
from bots.settings import AUTO, BETA, HISTORY, belief_for, own_adaptor, prior_for, resolve, untouched


def _kind_of_prior(value: Any) -> str | None:
    """Which member of `PriorValue` a value is meant as, so that an error is about that one alone; None: none."""
    kinds = {"(name)": str, "(anchors)": dict | AnchorPrior, "(counts)": list | tuple}
    return next((kind for kind, types in kinds.items() if isinstance(value, types)), None)


PriorValue = Annotated[
    Annotated[tuple[Positive, Positive], Tag("(counts)")]
    | Annotated[Literal["auto", "anchors"], Tag("(name)")]
    | Annotated[AnchorPrior, Tag("(anchors)")],
    Discriminator(
        _kind_of_prior,
        custom_error_type="no_prior",
        custom_error_message="input should be auto, anchors, [α0, β0] or a section such as {strength: 8}",
    ),
]
OF_BETA = {"lam", "rho", "evidence", "forgetting", "adaptor"}
"""Keys of belief beta, which a selector's preset fills in."""


class DynamicConfig(Section):
    """Dynamic sampling (DAPO, arXiv 2503.14476): groups without signal are left out of a batch and made up for."""

    oversample: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.5
    """First request, as a multiple of `selection.tasks`. 1 costs least behind a selector that foresees signal."""
    refill: Literal["rounds", "each"] = "rounds"
    """rounds: once all groups of a request are graded, request the missing ones over the share kept so far. each:
    replace a group without signal by one task as soon as it is graded; oversample is then 1."""
    least_deviation: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """A group is trained on if its rewards' standard deviation is greater."""
    rounds: Count = 4
    """After so many requests the batch goes out as it is; with `refill: each`, after as many tasks as they may have. So
    it can be full only where at least 1 / (rounds · oversample) of the tasks have signal; metric `trained_groups`."""

    @model_validator(mode="before")
    @classmethod
    def _lean(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("refill") == "each":
            return {"oversample": 1.0, **values}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.refill == "each" and self.oversample != 1:
            raise ValueError(
                f"oversample is {self.oversample:g}, but refill: each requests one task for each that is missing; "
                "set oversample to 1, or leave it out"
            )
        return self


class SelectionConfig(Section):
    """Which tasks come next. Symbols as in the BOTS paper (arXiv 2510.26374); see `bots.BOTS`.

    λ, ρ, the evidence and the adaptor default to what the selector is defined by, and are written out when resolved.
    """

    selector: str = "bots"
    """A name listed in `bots.support.registry` (bots is the paper's), or `module:Class`."""
    selector_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the selector's class."""
    tasks: Count = 32
    """B: tasks selected a step."""
    p_star: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """p*: the success probability that selection aims at."""
    lam: Share = 0.1
    """λ, forgetting: 0 never forgets, 1 keeps only the prior and the newest evidence. Left out, it starts at 0.1 and
    tunes itself for selector bots; a value, also 0.1, fixes it, and `belief: auto` is then beta, `prior: auto` is
    [1, 1]."""
    rho: Share = 0.1
    """ρ, weight of implicit evidence: a task outside the batch gets ρ·n counts at the pass rate inferred for it. Left
    out or set: as for `lam`."""
    evidence: str = "auto"
    """Implicit evidence: a name listed in `bots.support.registry`, or `module:Class`. auto:
    interpolation for tasks whose reference pass rates are known; for others the means of their domain and level, if
    the pool has levels, and none else."""
    evidence_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the evidence plug-in, for example `gamma: 0.9`."""
    forgetting: Literal["step", "observation"] = "step"
    """Whether λ counts at every step, as in the paper, or at a task's own observations (MoPPS's retention)."""
    prior: PriorValue = "auto"
    """α0, β0: pseudo-counts of the prior; `{strength: 8}` takes them from the reference pass rates and says how many
    rollouts these count for (`bots.AnchorPrior`; `anchors`: 2). auto: `{strength: 8}` where reference pass rates are
    known and belief is beta; [1, 1], the paper's, elsewhere and where another selector or a key of the Beta update is
    set."""
    adaptor: str | None = None
    """Self-tuning of λ, ρ and on request p*: predictive, or `module:Class`; none keeps them. Left out: predictive for
    selector bots where neither `lam` nor `rho` is set, else none."""
    adaptor_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the adaptor's class."""
    belief: str = AUTO
    """What is believed of a task's pass rate: beta, the paper's update with λ, ρ and evidence; state_space, a filter
    that follows how training moves cells of tasks, with options instead; or `module:Class`. auto: state_space where no
    reference pass rates are known, and levels (with `crowding: 0.25`) or embeddings are; else, and where a key of beta
    or another selector is set, beta."""
    belief_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the belief's class, for example `features: [length]`; auto and beta take none."""
    allocation: Annotated[str, plug_in("allocation")] = "even"
    """How many rollouts each selected task gets, `rollout.samples` on average: a name listed in
    `bots.support.registry`, or `module:Class`. even: the same for all. See docs/allocation.md."""
    allocation_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the allocation's class, for example `{least: 4, most: 64}`; even has none."""
    domain_shares: dict[str, float] | Literal["weights"] | None = None
    """Share of every batch for each domain; `weights`: by the sources' weights and sizes; none: no quotas."""
    cooldown: Annotated[int, Field(ge=0)] | None = None
    """Steps for which a selected task is not selected again, or fewer where more than half of the pool, or of a domain
    with a share of its own, would rest. 0: off; none: 15 with an adaptor or another
    belief than beta, else 0."""
    retire_above: Annotated[float, Field(gt=0, le=1)] | None = None
    """Tasks believed this easy rest for `recheck` steps; none: off."""
    recheck: Count = 50
    """How long a retired task rests."""
    dynamic: DynamicConfig | None = None
    """Leave groups whose rewards are all alike out of the batch and select others; with any selector. `{}` for
    the defaults; none: off. Needs `rollout.max_staleness: 0`."""

    @model_validator(mode="wrap")
    @classmethod
    def _fill_in_preset(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, dict):
            return validate(given)
        if not all(isinstance(given.get(name, ""), str) for name in ("selector", "forgetting", "belief")):
            return validate(given)  # which says what is wrong
        preset = preset_of(given.get("selector", "bots"), given.get("forgetting", "default"))
        if given.get("belief", AUTO) not in (AUTO, BETA):
            preset = Preset(lam=0.0, rho=0.0, evidence="none")
        own = {name: getattr(preset, name) for name in ("lam", "rho", "evidence", "forgetting")}
        if given.get("adaptor", "default") == "default":
            given = {key: value for key, value in given.items() if key != "adaptor"}
            own["adaptor"] = own_adaptor(preset, given)
        filled = validate(own | given)
        # What another selector would fill in otherwise is not set: arms of a simulation are laid over what is.
        filled.__pydantic_fields_set__ = set(given)
        return filled

    @model_serializer(mode="wrap")
    def _leave_out_filled_in(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        """In a file, keys of belief beta would count as given, and `auto` would stand for something else."""
        dumped = dump(self)
        if info.context == AS_FILE and self.depends_on_pool:
            return {name: value for name, value in dumped.items() if name not in self._filled_in()}
        return dumped

    @model_validator(mode="after")
    def _possible_together(self) -> SelectionConfig:
        resolve(rollouts=1, seed=0, history=HISTORY, threads=None, **self._of_bots())
        return self

    def settings(self, rollouts: int, seed: int) -> dict[str, Any]:
        """The keyword arguments of `bots.BOTS`."""
        settings = {**self._of_bots(), "prior": self.prior, "rollouts": rollouts, "seed": seed}
        # What was not given is left to BOTS, which fills in the same: what "auto" stands for depends on what is given.
        return {name: value for name, value in settings.items() if name not in self._filled_in()}

    def _filled_in(self) -> set[str]:
        """Keys of belief beta that were not given."""
        return OF_BETA - self.model_fields_set

    @property
    def depends_on_pool(self) -> bool:
        """Whether a key is `auto` that stands for something else on another pool."""
        return AUTO in (self.belief, self.prior)

    @property
    def has_measured_prior(self) -> bool:
        """Whether the prior comes from reference pass rates, where a pool has them."""
        if self.prior == AUTO:
            return self.belief in (AUTO, BETA) and untouched(**self.settings(1, 0))
        return not isinstance(self.prior, tuple)

    def on(self, pool: TaskPool) -> SelectionConfig:
        """The same with belief and prior `auto` replaced by what they stand for on this pool."""
        given = self.settings(1, 0)
        chosen: dict[str, Any] = belief_for(pool, **given) if self.belief == AUTO else {}
        if self.prior == AUTO:
            chosen["prior"] = prior_for(pool, **given | chosen)
        return self.having(**chosen) if chosen else self

    def having(self, **others: Any) -> SelectionConfig:
        """The same with other values of some keys, and what they fill in. Raises ValueError."""
        return SelectionConfig(**self.model_dump(exclude_unset=True) | others)

    def _of_bots(self) -> dict[str, Any]:
        return self.model_dump(exclude={"tasks", "prior", "dynamic"})
