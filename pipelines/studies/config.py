"""A study's configuration: the train jobs it consists of, each identified by pool, arm and seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from bots.config.train import TrainConfig
from bots.config.tree import ConfigError, Count, Section, UserPath, parse_config, read_tree
from bots.metrics.significance import MOST_PAIRS

PaperMetric = Literal["TTB50", "TTB75", "TTB100", "BSF25", "BSF50", "BSF100"]
"""A ratio to the baseline on steps, as in the paper."""

Key = tuple[str, str, int]
"""Pool, arm and seed of a run."""


@dataclass(frozen=True)
class Only:
    """A subset of the study. parts, arms: their names; empty: all."""

    parts: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()


ALL = Only()


def _testable(seeds: int) -> int:
    if seeds > MOST_PAIRS:
        raise ValueError(
            f"the exact signed-rank test takes {MOST_PAIRS} pairs of runs at most; give no more seeds"
        )
    return seeds


class Part(Section):
    """Arms compared with one another on some pools."""

    name: str
    """Heading of its tables."""
    about: str = ""
    """The question it answers, in a sentence or two under the heading."""
    pools: list[str] = Field(min_length=1)
    """Names of pools."""
    arms: list[str] = Field(min_length=1)
    """Names of arms."""
    seeds: Annotated[Count, AfterValidator(_testable)]
    """Number of seeds; at most as many as the signed-rank test supports."""
    first_seed: Annotated[int, Field(ge=0)] = 0
    """The first of them. A part that repeats what another has found starts where that one's seeds end."""
    overview: bool = False
    """Whether its arms are in the overview at the top of the page."""
    rivals: list[str] = Field(default_factory=list)
    """Arms of the part that the others are also compared with, besides the baseline."""
    paper: dict[str, dict[str, dict[PaperMetric, float | str]]] = Field(default_factory=dict)
    """The paper's values by pool, arm and metric, shown beside ours."""

    @property
    def all_seeds(self) -> range:
        """Its seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


class StudyConfig(Section):
    """A study: every run is the base configuration with the overrides of its pool and its arm."""

    base: UserPath
    """A train job's configuration, beside this file."""
    results: UserPath
    """Folder of the plots and Parquet files."""
    folder: UserPath = Path("runs/study")
    """Folder of the runs while they run."""
    baseline: str
    """The arm that the others are compared with; every part has it."""
    common: list[str] = Field(default_factory=list)
    """Overrides for every run."""
    pools: dict[str, list[str]] = Field(min_length=1)
    """Overrides of each pool."""
    arms: dict[str, list[str]] = Field(min_length=2)
    """Overrides of each arm."""
    groups: dict[str, list[str]] = Field(default_factory=dict)
    """Arms by heading in the overview, in this order. Arms in none of them come last."""
    parts: list[Part] = Field(min_length=1)
    """Parts, in the order in which they run."""
    _runs: dict[Key, TrainConfig] = PrivateAttr(default_factory=dict)
    _fingerprints: dict[Key, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_known(self) -> StudyConfig:
        for part in self.parts:
            for kind, names, known in (
                ("pool", part.pools, self.pools),
                ("arm", [*part.arms, self.baseline], self.arms),
                ("rival", part.rivals, part.arms),
                ("pool of the paper's", part.paper, part.pools),
                ("arm of the paper's", [arm for arms in part.paper.values() for arm in arms], part.arms),
            ):
                if unknown := sorted(set(names) - set(known)):
                    raise ValueError(
                        f"part {part.name!r} has the unknown {kind} {unknown}; known: {sorted(known)}"
                    )
            if self.baseline not in part.arms:
                raise ValueError(f"part {part.name!r} lacks the baseline {self.baseline!r}")
        grouped = [arm for arms in self.groups.values() for arm in arms]
        if unknown := sorted(set(grouped) - set(self.arms)):
            raise ValueError(f"groups has the unknown arm {unknown}; known: {sorted(self.arms)}")
        if twice := sorted({arm for arm in grouped if grouped.count(arm) > 1}):
            raise ValueError(f"groups has {twice} twice; name an arm once")
        return self

    def plan(self, only: Only = ALL) -> Iterator[Key]:
        """Every run once: part by part, seed by seed."""
        seen = set()
        for part in self.parts:
            if only.parts and part.name not in only.parts:
                continue
            for seed in part.all_seeds:
                for pool in part.pools:
                    for arm in part.arms:
                        if (key := (pool, arm, seed)) not in seen and (not only.arms or arm in only.arms):
                            seen.add(key)
                            yield key

    def check(self, only: Only) -> None:
        """Raise ConfigError for an unknown part or arm, or an arm that is in none of the requested parts."""
        for kind, names, known in (
            ("part", only.parts, [part.name for part in self.parts]),
            ("arm", only.arms, list(self.arms)),
        ):
            if unknown := sorted(set(names) - set(known)):
                raise ConfigError(f"unknown {kind} {unknown}; the study has {known}")
        for arm in only.arms:
            having = [part.name for part in self.parts if arm in part.arms]
            if only.parts and not set(having) & set(only.parts):
                raise ConfigError(
                    f"arm {arm!r} is in none of the parts {list(only.parts)}; it is in {having}"
                )

    def run(self, key: Key) -> TrainConfig:
        """The configuration of one run. Raises ConfigError as the train job does, and if it would have no score.

        Each run's files are read once, so edits during the study have no effect on it.
        """
        if key not in self._runs:
            self._runs[key] = self._read_run(key)
        return self._runs[key]

    def fingerprint(self, key: Key) -> str:
        """Fingerprint of a run's configuration."""
        if key not in self._fingerprints:
            self._fingerprints[key] = fingerprint(self.run(key))
        return self._fingerprints[key]

    def _read_run(self, key: Key) -> TrainConfig:
        pool, arm, seed = key
        overrides = [*self.common, *self.pools[pool], *self.arms[arm], f"run.seed={seed}"]
        tree = read_tree(self.base, overrides)
        tree["run"] |= {"folder": str(self.folder), "name": f"{pool}-{slug(arm)}-{seed}"}
        source = f"{self.base} for {pool}, {arm}, seed {seed}"
        config = parse_config(TrainConfig, tree, source)
        if config.evaluation.pool is None:
            raise ConfigError(f"{source}: evaluation.pool is not set, so the run would have no score; set it")
        return config


def load_study(path: str | Path, overrides: list[str], results: Path | None = None) -> StudyConfig:
    """Read a study and check every run's configuration. Raises ConfigError before anything runs.

    results: folder of its results and runs, in place of the file's.
    """
    tree = read_tree(path, overrides)
    if results is not None:
        tree |= {"results": str(results), "folder": str(results / "runs")}
    if isinstance(tree.get("base"), str):
        tree["base"] = str(Path(path).parent / tree["base"])
    study = parse_config(StudyConfig, tree, str(path))
    for key in study.plan():
        study.run(key)
    return study


def fingerprint(config: TrainConfig) -> str:
    """Fingerprint of a configuration, ignoring where the run is stored.

    Keys at their default don't count, so that adding a key later keeps finished runs valid; each run's commit tells
    which defaults it had. Settings that a selector fills in do count.
    """
    # Section by section: as a whole, a selection filled in by its selector would equal its default.
    sections = {name: section.model_dump(mode="json", exclude_defaults=True) for name, section in config}
    tree = {name: keys for name, keys in sections.items() if keys}
    tree["run"] = {k: v for k, v in tree["run"].items() if k not in ("folder", "name")}
    return hashlib.sha256(yaml.safe_dump(tree).encode()).hexdigest()[:16]


def slug(name: str) -> str:
    """A name in a form that can be part of a file name."""
    for sign, word in (("*", "star"), (".", ""), ("λ", "lam"), ("ρ", "rho")):
        name = name.replace(sign, word)
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
