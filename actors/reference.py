"""Stages of an anchors job on the cluster: sample completions from a reference model, then grade them.

Each is a class for Ray Data's `map_batches`: constructed once in an actor, then called with one block after the other.
An input block has the columns id, prompt, answer, grader (strings), prompt_ids (list of int32) or messages, and
seed (int64). `SampleLocally` and `SampleFromEndpoint` add `completions` (list of strings) and `tokens` (int64).
`GradeBlock` returns id, rewards (list of float, null where ungraded) and tokens.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from actors.loading import loading
from bots.config.train import GradingConfig, RolloutConfig
from bots.config.tree import ConfigError
from bots.graders.workers import Workers

_AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})


class EndpointError(RuntimeError):
    """A server refuses a request or does not respond; gives its address and its message."""


class SampleLocally:
    """A vLLM engine in this process. Completions depend only on a task's seed, not on its block."""

    def __init__(self, model: str, rollout: RolloutConfig, template: str | None) -> None:
        # vLLM is imported here, in the actor's process, in the environment prepared for it.
        with loading():
            from actors.engine import Engine, prepare_process
        from bots.rollouts.stops import end_of_turn
        from bots.rollouts.templates import PromptEncoder

        prepare_process()
        self._rollout = rollout
        self._engine = Engine(model, rollout)
        self._encoder = PromptEncoder(self._engine.tokenizer, template)
        # Stop where a run on the same tasks stops. If the engine stops at this token anyway, nothing changes.
        token = end_of_turn(self._encoder).token
        self._stop_ids = () if token is None else (token,)

    def __call__(self, block: pa.Table) -> pa.Table:
        prompts = self._encoder.encode(block["prompt"].to_pylist())
        groups = self._engine.generate(
            prompts,
            self._rollout.samples,
            max_tokens=self._rollout.max_tokens,
            temperature=self._rollout.temperature,
            top_p=self._rollout.top_p,
            seeds=block["seed"].to_pylist(),
            stop_ids=self._stop_ids,
        )
        completions = [[rollout.text for rollout in group] for group in groups]
        tokens = [sum(len(rollout.token_ids) for rollout in group) for group in groups]
        return _with_completions(block, completions, tokens)


class SampleFromEndpoint:
    """Queries a server that speaks OpenAI's chat completions API."""

    def __init__(self, endpoint: dict[str, Any], rollout: RolloutConfig) -> None:
        self._endpoint, self._rollout = endpoint, rollout
        self._threads = ThreadPoolExecutor(endpoint["parallel"])

    def __call__(self, block: pa.Table) -> pa.Table:
        tasks = zip(block["prompt"].to_pylist(), block["seed"].to_pylist(), strict=True)
        sampled = list(self._threads.map(lambda task: self._ask(*task), tasks))
        return _with_completions(block, [texts for texts, _ in sampled], [tokens for _, tokens in sampled])

    def _ask(self, messages: Any, seed: int) -> tuple[list[str], int]:
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        texts: list[str] = []
        tokens = 0
        # Some servers return fewer choices than requested, or only one.
        while len(texts) < self._rollout.samples:
            reply = self._post(
                {
                    "model": self._endpoint["model"],
                    "messages": messages,
                    "n": self._rollout.samples - len(texts),
                    "temperature": self._rollout.temperature,
                    "top_p": self._rollout.top_p,
                    "max_tokens": self._rollout.max_tokens,
                    "seed": seed + len(texts),
                }
            )
            choices = reply.get("choices") or []
            if not choices:
                raise EndpointError(f"{self._endpoint['url']} replied without choices: {str(reply)[:200]}")
            texts += [choice["message"]["content"] or "" for choice in choices]
            tokens += (reply.get("usage") or {}).get("completion_tokens", 0)
        return texts[: self._rollout.samples], tokens

    def _post(self, body: dict[str, Any]) -> Any:
        url = self._endpoint["url"].rstrip("/") + "/chat/completions"
        headers = {"Content-Type": "application/json"}
        if self._endpoint["key"]:
            headers["Authorization"] = f"Bearer {self._endpoint['key']}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        for attempt in range(self._endpoint["retries"] + 1):
            try:
                with urllib.request.urlopen(request, timeout=self._endpoint["timeout_s"]) as reply:
                    return json.load(reply)
            except urllib.error.HTTPError as error:
                said = f"HTTP {error.code}: {error.read()[:200].decode(errors='replace')}"
                if error.code not in _AGAIN:
                    break
            except (OSError, ValueError) as error:  # no connection, timeout, or not JSON
                said = str(error)
            if attempt < self._endpoint["retries"]:
                time.sleep(2.0**attempt)
        raise EndpointError(f"{url}, model {body['model']!r}, after {attempt + 1} tries: {said}")


class GradeBlock:
    """Killable grading processes. A completion that could not be graded is tried once more, then null."""

    def __init__(self, grading: GradingConfig, graders: list[str]) -> None:
        from bots.graders.code import CodeOptions

        self._workers = Workers(
            grading.workers,
            time_limit=grading.timeout_s,
            memory_limit=int(grading.memory_gib * 2**30),
            graders=graders,
            code=CodeOptions(unsafe_code_without_sandbox=grading.unsafe_code_without_sandbox),
            judge_by=grading.judge_options,
        )

    def __call__(self, block: pa.Table) -> pa.Table:
        from bots.rollouts.templates import prompt_text

        items = [
            (task["grader"], prompt_text(task["prompt"]), task["answer"], completion)
            for task in block.select(["grader", "prompt", "answer", "completions"]).to_pylist()
            for completion in task["completions"]
        ]
        results = self._workers.grade(items)
        failed = [i for i, result in enumerate(results) if result.reward is None]
        for i, result in zip(failed, self._workers.grade([items[i] for i in failed]), strict=True):
            results[i] = result
        samples = len(items) // block.num_rows
        ends = np.arange(0, len(items) + 1, samples, dtype=np.int32)
        rewards = pa.array([result.reward for result in results], pa.float32())
        reasons = [result.reason if result.reward is None else None for result in results]
        first_failure = [
            next((r for r in reasons[i : i + samples] if r), None) for i in range(0, len(items), samples)
        ]
        return pa.table(
            {
                "block": block["block"],
                "id": block["id"],
                "rewards": pa.ListArray.from_arrays(pa.array(ends), rewards),
                "failure": pa.array(first_failure, pa.string()),
                "tokens": block["tokens"],
            }
        )


def _with_completions(block: pa.Table, completions: list[list[str]], tokens: list[int]) -> pa.Table:
    block = block.append_column("completions", pa.array(completions, pa.list_(pa.string())))
    return block.append_column("tokens", pa.array(tokens, pa.int64()))


def endpoint_key(variable: str | None) -> str | None:
    """The API key from the driver's environment. Raises ConfigError if the variable is not set."""
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise ConfigError(f"the environment variable {variable} (endpoint.key_variable) is not set")
    return os.environ[variable]
