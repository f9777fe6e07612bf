"""The section `grading` of a train job: the processes that score completions, and the model that some ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from bots.config.tree import Amount, Count, Positive, Section, UserPath
from bots.graders.judge import FIELDS, RUBRIC, JudgeOptions
from bots.graders.judge_client import JudgeClient


class JudgeConfig(Section):
    """The model that the grader `judge` asks, on an OpenAI-compatible server."""

    url: str
    """Of the API, for example http://127.0.0.1:8000/v1."""
    model: str
    """The model's name on that server."""
    api_key_env: str | None = None
    """Environment variable with the key, on every machine that grades; none sends none."""
    timeout_s: Positive = 60.0
    """Longest time for one question, from connecting to the last byte."""
    attempts: Count = 3
    """Attempts at a question while the server is busy, broken or silent."""
    concurrency: Count = 32
    """Questions at the same time, of one grader actor."""
    cache: Count = 65_536
    """Verdicts that one grader actor remembers."""
    rubric: UserPath | None = None
    """File with the prompt of the judge, with {question}, {reference} and {answer} in it, which asks it to end with the
    line "Final Decision: Yes" or "Final Decision: No". None takes the built-in one."""
    body: dict[str, Any] = Field(default_factory=dict)
    """More keys of the request, for example {max_tokens: 4096}."""
    probe: bool = True
    """Ask two questions with known answers before the run, and refuse a judge that gets one wrong."""

    def options(self) -> JudgeOptions:
        """What the grading processes are given."""
        return JudgeOptions(
            url=self.url,
            model=self.model,
            api_key_env=self.api_key_env,
            timeout_s=self.timeout_s,
            attempts=self.attempts,
            concurrency=self.concurrency,
            cache=self.cache,
            rubric=RUBRIC if self.rubric is None else self._rubric(self.rubric),
            body=self.body,
            probe=self.probe,
        )

    @model_validator(mode="after")
    def _can_be_asked(self) -> JudgeConfig:
        options = self.options()
        JudgeClient(options.url, options.model, options.rubric)  # refuses an address that it can't ask
        if not self.model.strip():
            raise ValueError("model is empty; it must be the model's name on the server")
        return self

    @staticmethod
    def _rubric(path: Path) -> str:
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"rubric: {path} can't be read: {error}") from error
        if lacking := [field for field in FIELDS if field not in text]:
            raise ValueError(f"rubric: {path} lacks {', '.join(lacking)}")
        return text


class GradingConfig(Section):
    """The processes that grade completions."""

    actors: Count = 1
    """Grader actors."""
    workers: Count = 1
    """Killable worker processes of one actor."""
    cpus: Amount = 0.0
    """CPUs that one actor asks of Ray. 0 lets it run beside anything; with programs to grade, take `workers`, so that
    engines and ranks on its node do not slow it down."""
    timeout_s: Positive = 40.0
    """Longest time for one grade; code needs longer than all its tests together."""
    memory_gib: Annotated[float, Field(ge=0.0625, allow_inf_nan=False)] = 2.0
    """Largest memory of one grade, GiB. Programs in the sandbox have 1 GiB each, whatever this says."""
    unsafe_code_without_sandbox: bool = False
    """Run model-written programs without a sandbox where none is installed. They can then do anything."""
    judge: JudgeConfig | None = None
    """The model that the grader `judge` asks; needed if a task has this grader."""

    @property
    def judge_options(self) -> JudgeOptions | None:
        """Of the judge, if there is one."""
        return None if self.judge is None else self.judge.options()
