"""The configuration of an anchors job: two reference models, a pool, and how to sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from bots.config.pool import PoolConfig
from bots.config.train import GradingConfig, RolloutConfig
from bots.config.tree import Count, FolderName, Positive, Section, UserPath, UserPathText

REFERENCES = ("weak", "strong")
"""The two reference models: names of configuration sections and of the measured columns."""


class EndpointConfig(Section):
    """A server with OpenAI's chat completions API."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    """Base URL, including `/v1`."""
    model: str
    """The model's name on that server."""
    key_variable: str | None = None
    """Environment variable with the API key; none: no key is sent."""
    parallel: Count = 16
    """Concurrent requests."""
    timeout_s: Positive = 300.0
    """Time limit of a request."""
    retries: Annotated[int, Field(ge=0)] = 5
    """How often a refused or failed request is retried, after 1, 2, 4, … seconds."""


class ReferenceConfig(Section):
    """One reference model: a local one in vLLM, or an endpoint."""

    path: UserPathText | None = None
    """Folder or hub name of the model, or `lab:weak`, `lab:base`, `lab:strong`."""
    endpoint: EndpointConfig | None = None
    """A server instead of a local model."""

    @model_validator(mode="after")
    def _one_of_both(self) -> ReferenceConfig:
        if (self.path is None) == (self.endpoint is None):
            raise ValueError("a reference model needs either a path or an endpoint")
        return self


class AnchorsRun(Section):
    """The job itself."""

    name: FolderName
    """Name of the job; its results are in `folder/name`."""
    folder: UserPath = Path("runs")
    """Where results are stored."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the subset and of every sample."""
    subset: Count | None = None
    """Measure only this many tasks, drawn at random; pass rates of the others stay null. None: all."""
    block: Count = 128
    """Tasks that are generated, graded and written together; a killed job loses the blocks in progress."""

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
    """`samples` completions per task; up to `engines` engines, as resources and work allow."""
    grading: GradingConfig = GradingConfig()

    @model_validator(mode="after")
    def _room_for_a_prompt(self) -> AnchorsConfig:
        if self.rollout.max_tokens >= self.rollout.max_model_len:
            raise ValueError(
                f"rollout.max_tokens is {self.rollout.max_tokens} and rollout.max_model_len "
                f"{self.rollout.max_model_len}: there is no room for a prompt; raise max_model_len"
            )
        return self
