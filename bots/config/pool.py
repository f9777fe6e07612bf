"""Where the tasks come from: the `pool` section of a configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from bots.config.source_kind import with_kind
from bots.config.tree import FolderName, Section, UserPathText
from bots.graders.registry import custom_parts

NormalColumn = Literal["id", "prompt", "answer", "domain", "grader", "level", "weak", "strong"]
"""The columns of the normal schema that a source's own columns can be mapped to."""


class SourceSettings(Section):
    """What every kind of source can be told."""

    domain: str | None = Field(None, min_length=1)
    """Domain of all its tasks; None takes the source's own `domain` column, else "default"."""
    grader: str | None = Field(None, min_length=1)
    """Grader of all its tasks (a built-in name or `module:function`); None takes the source's own column."""
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    """How often its tasks come up, relative to their number, under `selection.domain_shares: weights`."""
    system: str | None = Field(None, min_length=1)
    """System prompt put before every prompt. Ids don't depend on it."""
    columns: dict[NormalColumn, str] = Field(default_factory=dict)
    """The source's own name of a normal column, for example `answer: reward_model.ground_truth`."""
    keep: tuple[str, ...] = ()
    """Further columns of the source to keep in the pool, under their own names."""
    set: FolderName | None = None
    """Name of the evaluation set that its tasks belong to, for example `math_500`; several sources may share one."""
    anchors: UserPathText | None = None
    """Parquet file with columns id, weak, strong (the anchors pipeline writes it), joined by id."""
    embeddings: UserPathText | None = None
    """Parquet file with columns id, embedding (`bots embed` writes it), joined by id as the pool's column
    `embedding`."""
    bad_rows: float = Field(0.0, ge=0, lt=1)
    """Share of the source's rows that may be bad: they are reported and left out. 0 refuses the first one."""

    @model_validator(mode="after")
    def _anchors_come_together(self) -> SourceSettings:
        if ("weak" in self.columns) != ("strong" in self.columns):
            raise ValueError(f"columns.weak and columns.strong come together; got {dict(self.columns)}")
        return self

    @model_validator(mode="after")
    def _one_embedding(self) -> SourceSettings:
        if self.embeddings is not None and "embedding" in self.keep:
            raise ValueError("the column embedding comes from `embeddings` and from `keep`; leave one out")
        return self


class LabSource(SourceSettings):
    """The embedded lab's generated tasks."""

    kind: Literal["lab"]
    size: int = Field(4000, ge=1, le=1_000_000)
    """Number of tasks."""
    seed: int = 0
    """Seed of the draw."""
    domains: tuple[Literal["math", "logic", "code"], ...] = ("math", "logic", "code")
    """Which task families."""
    split: Literal["train", "eval"] = "train"
    """Training and evaluation prompts never meet, whatever the seeds."""
    levels: dict[str, tuple[int, ...]] | tuple[int, ...] | None = None
    """Which levels of difficulty, for all domains or by domain; None means all."""
    anchors: UserPathText | None = "shipped"
    """`shipped` joins the pass rates measured for the lab's weak and strong models, of the tasks that seed 7 draws of
    all domains or of one, up to 4,000; or a file; or none."""


class ParquetSource(SourceSettings):
    """Parquet files; GURU's schema needs no mapping."""

    kind: Literal["parquet"]
    path: UserPathText
    """A file, a folder (all .parquet below it), a pattern with `*`, or a URI that Arrow can open (s3://, gs://)."""


class JsonLinesSource(SourceSettings):
    """JSON lines: one object a line."""

    kind: Literal["jsonl"]
    path: UserPathText
    """A file, a folder (all .jsonl below it), or a pattern with `*`; gzipped files end in .gz too."""


class CsvSource(SourceSettings):
    """CSV or TSV files; the first line names the columns."""

    kind: Literal["csv"]
    path: UserPathText
    """A file, a folder (all .csv and .tsv below it), or a pattern with `*`; gzipped files end in .gz too."""


class HuggingFaceSource(SourceSettings):
    """A data set of the Hugging Face `datasets` library, by name or from a folder."""

    kind: Literal["huggingface"]
    path: UserPathText
    """Name of the data set, or a folder: one written by `save_to_disk`, or of data files."""
    subset: str | None = None
    """Name of the configuration, for data sets that have several. (`openai/gsm8k`: main, unless told otherwise.)"""
    split: str = "train"
    """Which split."""
    revision: str | None = None
    """Git revision of a data set on the hub: pin it, so that the tasks stay the same."""


class Generator(Section):
    """One `reasoning-gym` generator and how many tasks to take from it."""

    name: str
    """The generator's name, for example `chain_sum`."""
    size: int = Field(500, ge=1, le=10_000_000)
    """Number of tasks."""
    seed: int = 0
    """Seed of the draw; a task is settled by seed and number alone."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The generator's own settings, for example `{min_terms: 2, max_terms: 6}`."""
    level: int | None = Field(None, ge=0)
    """Level of its tasks: several generators of one name with other settings are levels of one kind of task."""


class ReasoningGymSource(SourceSettings):
    """Tasks from `reasoning-gym` generators, graded by their own `score_answer`.

    That is strict about form. `columns: {answer: answer_text}` with `grader: math` takes only the answer, as text.
    """

    kind: Literal["reasoning_gym"]
    generators: tuple[Generator, ...] = Field(min_length=1)
    """Which generators. Each one's name is the `generator` column of its tasks; `columns: {domain: generator}` with
    `domain: null` makes it their domain."""
    domain: str | None = Field("reasoning_gym", min_length=1)
    """Domain of all its tasks."""
    grader: str | None = Field("reasoning_gym", min_length=1)
    """Grader of all its tasks."""


SourceConfig = Annotated[
    LabSource | ParquetSource | JsonLinesSource | CsvSource | HuggingFaceSource | ReasoningGymSource,
    Field(discriminator="kind"),
]
"""One source of tasks; `kind` says which. Left out, it follows from the path (`bots.config.source_kind`)."""


class PoolConfig(Section):
    """One pool of tasks from several sources, in the order given."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    """The sources, each a section or only its path or hub name; row numbers follow their order."""
    graders: tuple[str, ...] | None = None
    """Your own graders, as `module:function`, that the files' rows may name in their `grader` column. A row that names
    another function is bad: a grader runs outside the sandbox, so a file alone must not choose one. Built-in graders
    and those in a source's `grader` need no entry."""
    domains: tuple[str, ...] | None = None
    """The domains that the pool may have; a row of any other one is bad. None allows all."""
    max_prompt_tokens: int | None = Field(None, ge=1)
    """Longer prompts, counted with the chat template, are left out and counted. None keeps all."""
    template: str | None = None
    """Chat template: a Jinja file or the template's text; None takes the tokenizer's own."""

    @property
    def trusted_graders(self) -> frozenset[str]:
        """Every `module:function` that the configuration itself names."""
        named = [*(self.graders or ()), *(one.grader for one in self.sources if one.grader is not None)]
        return frozenset(part for name in named for part in custom_parts(name))

    @field_validator("graders")
    @classmethod
    def _are_graders(cls, graders: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in graders or ():
            custom_parts(name)
        return graders

    @field_validator("sources", mode="before")
    @classmethod
    def _with_kinds(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = [given]
        return [with_kind(source) for source in given] if isinstance(given, list | tuple) else given
