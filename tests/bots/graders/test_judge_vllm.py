"""The judge asks vLLM's own OpenAI server, with a small model of random weights whose replies the server constrains."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from bots.graders import judge
from bots.graders.judge import JudgeOptions, JudgeUnavailableError
from bots.graders.workers import Workers

# It starts no Ray, but costs as much as a test that does: 47 CPU seconds, nearly all for the server's start.
pytestmark = [pytest.mark.slow, pytest.mark.ray]
CONTEXT = 2048
YES, NO = "Final Decision: Yes", "Final Decision: No"


def save_model(folder: Path) -> None:
    """Qwen2's architecture, one token for each byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<eos>", *alphabet])}
    bytewise = Tokenizer(models.BPE(vocabulary, []))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token="<eos>", pad_token="<eos>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=CONTEXT, eos_token_id=0, pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("judge")
    save_model(folder)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder),
                "--served-model-name", "small", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32",
                "--max-model-len", str(CONTEXT), "--enforce-eager", "--max-num-seqs", "4",
            ],
            env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "VLLM_NO_USAGE_STATS": "1"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 600
    try:
        while not _is_up(port):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"vLLM's server did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)
        judge.configure(None)


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return reply.status == 200
    except (OSError, urllib.error.URLError):
        return False


def options(url: object, *choices: str, **more: object) -> JudgeOptions:
    body: dict[str, object] = {"max_tokens": 24}
    if choices:
        body["structured_outputs"] = {"choice": list(choices)}
    return JudgeOptions(
        **{"url": url, "model": "small", "body": body, "probe": False, "timeout_s": 120.0, **more}
    )


def item(said: str, question: str = "What is the capital of France?") -> tuple[str, str, str, str]:
    return "judge", question, "Paris", f"\\boxed{{{said}}}"


def test_verdicts_the_cache_and_a_question_that_is_too_long(url: str) -> None:
    with Workers(1, graders=["judge"], judge_by=options(url, YES)) as workers:
        answers = ["Paris", "the city of Paris", "Lyon", "Lyon", "Rome", "五"]
        assert [one.reward for one in workers.grade([item(said) for said in answers])] == [1.0] * 6
        counts = workers.stats()
        assert (counts["judge_asked"], counts["judge_cached"], counts["judge_failures"]) == (4, 1, 0)
        (too_long,) = workers.grade([item("Lyon" * 499)])
        assert (too_long.reward, "no decision" in too_long.reason) == (0.0, True)
        (at_fault,) = workers.grade([item("Lyon", "q" * 2 * CONTEXT)])
        assert at_fault.reward is None
        assert "HTTP 400" in at_fault.reason
    with Workers(1, graders=["judge"], judge_by=options(url, NO)) as workers:
        assert [one.reward for one in workers.grade([item("Paris"), item("Lyon")])] == [1.0, 0.0]
    with Workers(1, graders=["judge"], judge_by=options(url)) as workers:  # babble
        (babble,) = workers.grade([item("Lyon")])
        assert (babble.reward, workers.stats()["judge_failures"]) in ((0.0, 0), (None, 1))


def test_what_is_wrong_with_a_judge_is_said_before_the_first_grade(url: str) -> None:
    def refused(**more: object) -> str:
        judge.configure(options(**{"url": url, "probe": True, "attempts": 1, **more}))
        with pytest.raises(JudgeUnavailableError) as error:
            judge.preflight()
        return str(error.value)

    always = {"max_tokens": 24, "structured_outputs": {"choice": [YES]}}
    assert "says 'Yes' of" in refused(body=always)
    assert "nope" in refused(model="nope", body=always)
    assert "HTTP 404" in refused(url=url.replace("/v1", "/v2"), body=always)
    assert "max_tokens" in refused(body={"max_tokens": 100 * CONTEXT})
