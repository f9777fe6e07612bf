"""A real vLLM engine in a real actor, held against transformers."""

import numpy as np
import pytest
import ray
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.environment import engine_environment
from actors.rollout import RolloutActor
from actors.weight_format import Checksum, buckets_of
from bots.config import RolloutConfig
from bots.lab.checkpoints import checkpoint_path
from bots.lab.pool import lab_table

pytestmark = pytest.mark.slow
CONFIG = RolloutConfig(samples=4, max_tokens=48, max_model_len=128, dtype="float32", cpus=0.5)
BASE = str(checkpoint_path("base"))


@pytest.fixture(scope="module")
def engine(cluster):
    environment = {"env_vars": engine_environment(1, on_gpu=False)}
    actor = RolloutActor.options(num_cpus=0.5, runtime_env=environment).remote("rollout-0", BASE, CONFIG, 0)
    yield actor
    ray.kill(actor)


@pytest.fixture(scope="module")
def prompts():
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    texts = lab_table(24, 11)["prompt"].to_pylist()
    return [np.array(ids, np.int32) for ids in tokenizer(texts)["input_ids"]]


def generate(engine, prompts, seeds=None):
    return ray.get(engine.generate.remote(prompts, 4, 1.0, seeds))[0]


def transformers_logprobs(model, prompt, rollout):
    ids = torch.from_numpy(np.concatenate([prompt, rollout.token_ids])).long()[None]
    with torch.no_grad():
        logprobs = torch.log_softmax(model(ids).logits[0, :-1].double(), -1)
    return logprobs.gather(-1, ids[0, 1:, None])[len(prompt) - 1 :, 0].numpy()


def largest_difference(model, prompts, answers):
    pairs = [(p, r) for p, group in zip(prompts, answers, strict=True) for r in group]
    assert sum(len(r.token_ids) for _, r in pairs) > 1000
    return max(np.abs(transformers_logprobs(model, p, r) - r.logprobs).max() for p, r in pairs)


def test_logprobs_are_those_of_transformers_before_and_after_new_weights(engine, prompts):
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()
    assert largest_difference(model, prompts, generate(engine, prompts)) < 1e-4

    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    parameters = [(name, p.detach()) for name, p in model.named_parameters()]
    assert not any(name.startswith("lm_head") for name, _ in parameters), "tied: the trap of a stale head"
    checksum = Checksum()
    references = []
    for bucket in buckets_of(parameters, limit=2**19):
        checksum.add(bucket)
        references.append(ray.put(bucket))
    assert len(references) > 1
    name, loaded, _ = ray.get(engine.load.remote(references, 7))
    assert (name, loaded) == ("rollout-0", checksum.hexdigest())

    answers = generate(engine, prompts)
    assert largest_difference(model, prompts, answers) < 1e-4
    assert {(r.version, r.weights) for group in answers for r in group} == {(7, loaded)}


def test_seeded_answers_do_not_depend_on_the_batch(engine, prompts):
    seeds = list(range(100, 100 + len(prompts)))
    together = generate(engine, prompts, seeds)
    alone = generate(engine, prompts[3:4], seeds[3:4])
    assert [r.text for r in alone[0]] == [r.text for r in together[3]]
    assert len({r.text for group in together for r in group}) > len(prompts), "samples of a task differ"


def test_a_rollout_says_how_it_ended(engine, prompts):
    for rollout in (r for group in generate(engine, prompts) for r in group):
        assert len(rollout.logprobs) == len(rollout.token_ids) <= CONFIG.max_tokens
        assert (rollout.logprobs <= 0).all()
        assert rollout.finished == (rollout.token_ids[-1] == 2), "2 is the lab's end-of-sequence token"
        assert rollout.finished or len(rollout.token_ids) == CONFIG.max_tokens
