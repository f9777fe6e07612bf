"""Tasks from `reasoning-gym` generators.

The whole entry is the `answer`, for its own `score_answer`; `answer_text` is the entry's answer alone, for graders that
read text.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from bots.config.pool import Generator, ReasoningGymSource
from bots.sources.base import Piece, Shard, SourceError

SHARD_ROWS = 2048
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "prompt", "answer", "generator", "answer_text")]
    + [("level", pa.int32())]
)


@dataclass(frozen=True)
class ReasoningGymShard:
    """Tasks first … last - 1 of one generator. Each is made from the seed and its number alone."""

    generator: Generator
    first: int
    last: int

    def read(self, columns: list[str]) -> Iterator[Piece]:
        dataset = _create(self.generator)
        name, seed = self.generator.name, self.generator.seed
        rows: dict[str, list[Any]] = {column: [] for column in SCHEMA.names}
        for number in range(self.first, self.last):
            entry = dataset[number]
            rows["id"].append(f"reasoning_gym/{name}/{_settings_key(self.generator)}{seed}/{number}")
            rows["prompt"].append(entry["question"])
            rows["answer"].append(_as_json(entry, name))
            rows["generator"].append(name)
            rows["answer_text"].append(None if entry["answer"] is None else str(entry["answer"]))
            rows["level"].append(self.generator.level)
        yield Piece(pa.table(rows, schema=SCHEMA).select(columns), f"{name}, task {{}}", self.first)


class ReasoningGym:
    """Several generators. Every one is tried on its first task, so that a wrong setting is known at once."""

    name = "reasoning_gym"

    def __init__(self, settings: ReasoningGymSource) -> None:
        self._generators = settings.generators
        for generator in self._generators:
            _check_gradable(_create(generator), generator.name)

    def schema(self) -> pa.Schema:
        return SCHEMA

    def shards(self) -> list[Shard]:
        return [
            ReasoningGymShard(generator, start, min(start + SHARD_ROWS, generator.size))
            for generator in self._generators
            for start in range(0, generator.size, SHARD_ROWS)
        ]


def _create(generator: Generator) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # a dependency's, of no concern to our user
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    if generator.name not in DATASETS:
        raise SourceError(
            f"reasoning-gym has no generator {generator.name!r}; it has {', '.join(sorted(DATASETS))}"
        )
    try:
        return reasoning_gym.create_dataset(
            generator.name, size=generator.size, seed=generator.seed, **generator.config
        )
    except (TypeError, ValueError, AssertionError) as error:
        fields = sorted(vars(DATASETS[generator.name][1]()).keys() - {"seed", "size"})
        raise SourceError(
            f"generator {generator.name!r} refuses config {generator.config}: {error}; "
            f"its settings are {', '.join(fields)}"
        ) from error


def _check_gradable(dataset: Any, name: str) -> None:
    """Its own answer must score as much after a way through JSON as before."""
    entry = dataset[0]
    if entry["answer"] is None:
        return  # several answers are right; `score_answer` needs the metadata only
    before = dataset.score_answer(entry["answer"], entry)
    after = dataset.score_answer(entry["answer"], json.loads(_as_json(entry, name)))
    if after < before:
        raise SourceError(
            f"generator {name!r} cannot be used: its entries do not survive JSON "
            f"(its own answer scores {before:g}, then {after:g})"
        )


def _as_json(entry: dict[str, Any], name: str) -> str:
    try:
        return json.dumps(entry, ensure_ascii=False)
    except TypeError as error:
        raise SourceError(
            f"generator {name!r} cannot be used: its entries have no JSON form ({error})"
        ) from error


def _settings_key(generator: Generator) -> str:
    """Tasks of other settings need other ids."""
    changed = ",".join(f"{key}={generator.config[key]}" for key in sorted(generator.config))
    return f"{changed}/" if changed else ""
