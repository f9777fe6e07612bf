"""The configuration of an anchors job: two reference models, a pool, and how to sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from bots.config.train import GradingConfig, RolloutConfig
from bots.config.tree import Count, FolderName, Positive, Section, UserPath, UserPathText
from bots.sources.config import PoolConfig

REFERENCES = ("weak", "strong")
"""The two reference models: sections of the configuration, and columns of what is measured."""


class EndpointConfig(Section):
    """A server that speaks OpenAI's chat completions."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    """Base address, up to and with `/v1`."""
    model: str
    """The model's name on that server."""
    key_variable: str | None = None
    """Environment variable that holds the key; none: no key is sent."""
    parallel: Count = 16
    """Requests under way at the same time."""
    timeout_s: Positive = 300.0
    """Longest wait for one answer."""
    retries: Annotated[int, Field(ge=0)] = 5
    """How often a refused or failed request is sent again, after 1, 2, 4, … seconds."""


class ReferenceConfig(Section):
    """One reference model: a local one that vLLM runs, or an endpoint."""

    path: UserPathText | None = None
    """Folder or hub name of the model, or `lab:weak`, `lab:base`, `lab:strong`."""
    endpoint: EndpointConfig | None = None
    """A server in place of a local model."""

    @model_validator(mode="after")
    def _one_of_both(self) -> ReferenceConfig:
        if (self.path is None) == (self.endpoint is None):
            raise ValueError("a reference model has a path or an endpoint, one of the two")
        return self


class AnchorsRun(Section):
    """The job itself."""

    name: FolderName
    """Name of the job; its results are in `folder/name`."""
    folder: UserPath = Path("runs")
    """Where results are kept."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seeds the subset and every sample."""
    subset: Count | None = None
    """Measure only so many tasks, drawn at random; the others' pass rates stay null. None measures all."""
    block: Count = 128
    """Tasks that are answered, graded and written together: a killed job loses those under way."""

    @property
    def path(self) -> Path:
        """The job's folder, absolute."""
        return (self.folder / self.name).absolute()


class AnchorsConfig(Section):
    """A whole anchors job."""

    run: AnchorsRun
    pool: PoolConfig
    weak: ReferenceConfig
    strong: ReferenceConfig
    rollout: RolloutConfig = RolloutConfig()
    """`samples` answers a task; up to `engines` engines, as many as there is room and work for."""
    grading: GradingConfig = GradingConfig()

    @model_validator(mode="after")
    def _room_for_a_prompt(self) -> AnchorsConfig:
        if self.rollout.max_tokens >= self.rollout.max_model_len:
            raise ValueError(
                f"rollout.max_tokens is {self.rollout.max_tokens} and rollout.max_model_len "
                f"{self.rollout.max_model_len}: no room is left for a prompt; raise max_model_len"
            )
        return self
