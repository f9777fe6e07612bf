"""The configuration of a simulation: a world, a learning law, and the arms that are compared."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from bots.config.train import SelectionConfig
from bots.config.tree import Count, FolderName, Section, UserPath, parse_config, read_tree
from bots.selection.presets import preset_of
from bots.simulation import Law, Simulation, WorldSpec

BASELINE = "random"


def _only_fields_of(kind: type) -> BeforeValidator:
    """Refuse unknown keys, which pydantic silently drops for dataclasses."""
    names = [field.name for field in dataclasses.fields(kind)]

    def check(given: Any) -> Any:
        unknown = set(given) - set(names) if isinstance(given, dict) else None
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: no such key; there are {', '.join(names)}")
        return given

    return BeforeValidator(check)


class SimulationRun(Section):
    """The runs themselves."""

    name: FolderName
    """Name of the simulation; its results are in `folder/name`."""
    folder: UserPath = Path("runs")
    """Where results are stored."""
    steps: Count = 300
    """Training steps of each run."""
    seeds: Count = 8
    """Runs per arm; run i of every arm has the same tasks, anchors and residuals."""
    first_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the first run."""
    evaluate_every: Count = 10
    """Steps between two points of the learning curve."""

    @property
    def path(self) -> Path:
        """The results' folder, absolute."""
        return (self.folder / self.name).absolute()


class SimulatedRollouts(Section):
    """Simulated rollouts."""

    samples: Annotated[int, Field(ge=2)] = 16
    """n: completions per selected task."""
    delay: Annotated[int, Field(ge=0)] = 0
    """Steps until the posterior observes a batch."""


class SimulationConfig(Section):
    """A whole simulation."""

    run: SimulationRun
    world: Annotated[WorldSpec, _only_fields_of(WorldSpec)] = WorldSpec()
    """The tasks; see `bots.simulation.WorldSpec`."""
    law: Annotated[Law, _only_fields_of(Law)] = Law()
    """How the policy learns; see `bots.simulation.Law`."""
    selection: SelectionConfig = SelectionConfig()
    """Settings shared by all arms, as in a train job."""
    rollout: SimulatedRollouts = SimulatedRollouts()
    arms: dict[str, dict[str, Any]] = {"bots": {}}  # noqa: RUF012
    """Arms by name, each with the keys of `selection` that it changes. `random`, the baseline of TTB and BSF, always
    runs."""

    @model_validator(mode="after")
    def _possible_together(self) -> SimulationConfig:
        for name in self.arms:
            self.simulation(self.selection_of(name))
        if self.arms.get(BASELINE, {}).get("selector", BASELINE) != BASELINE:
            raise ValueError(f"arms.{BASELINE} is the baseline; its selector must be {BASELINE}")
        return self

    def selection_of(self, arm: str) -> SelectionConfig:
        """The shared selection with the arm's changes.

        A changed selector brings its own options and its own λ, ρ, evidence and adaptor. A changed λ or ρ is not tuned
        unless the arm names an adaptor.
        """
        changes = dict(self.arms.get(arm, {}))
        if arm == BASELINE:
            changes["selector"] = BASELINE
        shared = self.selection.model_dump(exclude_unset=True)
        selector = changes.get("selector", self.selection.selector)
        if selector != self.selection.selector:
            shared.pop("selector_options", None)
        if {"selector", "forgetting", "lam", "rho"} & changes.keys():
            shared.pop("adaptor", None)
        fixed = preset_of(selector, changes.get("forgetting", shared.get("forgetting", "default"))).fixed
        shared = {key: value for key, value in shared.items() if key not in fixed}
        return parse_config(SelectionConfig, {**shared, **changes}, f"arms.{arm}")

    def simulation(self, selection: SelectionConfig) -> Simulation:
        """The argument of `bots.simulation.simulate`."""
        options = selection.settings(self.rollout.samples, 0)
        del options["rollouts"], options["seed"]
        return Simulation(
            self.world,
            self.law,
            self.run.steps,
            selection.tasks,
            self.rollout.samples,
            self.rollout.delay,
            self.run.evaluate_every,
            options,
            None if selection.dynamic is None else selection.dynamic.model_dump(),
        )

    @property
    def seeds(self) -> range:
        """The seeds, the same for every arm."""
        return range(self.run.first_seed, self.run.first_seed + self.run.seeds)


def load_simulation(path: str | Path, overrides: list[str] | None = None) -> SimulationConfig:
    """Read a YAML file and apply overrides; ConfigError for every error."""
    return parse_config(SimulationConfig, read_tree(path, overrides or []), str(path))
