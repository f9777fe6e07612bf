"""A real vLLM engine in a real actor, compared with transformers."""

import time

import numpy as np
import pytest
import ray
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.environment import engine_environment
from actors.rollout import RolloutActor
from actors.weights.format import Checksum, buckets_of
from bots.config.train import RolloutConfig
from bots.lab.checkpoints import checkpoint_path
from bots.lab.pool import lab_table
from bots.rollouts.request import Request, Sampling
from tests.actors.asynchronous import play
from tests.actors.keeping import kept
from tests.actors.receiving import checked_late, damaged, two_workers
from tests.actors.shortcuts import (
    count_tokens,
    counted,
    occupy_cache,
    with_exact_shortcuts,
    with_shortcuts,
    without_shortcuts,
)

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


def requests(prompts, seeds=None, max_tokens=CONFIG.max_tokens):
    sampling = Sampling(4, max_tokens)
    return [
        Request(("train", 1, i), prompt, sampling, None if seeds is None else seeds[i])
        for i, prompt in enumerate(prompts)
    ]


def collect(engine, turn, count):
    groups = {}
    while len(groups) < count:
        groups |= ray.get(engine.collect.remote(turn, 5.0)).groups
    return [groups["train", 1, i] for i in range(count)]


def steps_of(engine):
    return ray.get(engine.collect.remote("other", 0.0)).steps


def generate(engine, prompts, seeds=None):
    ray.get(engine.begin.remote("turn"))
    ray.get(engine.submit.remote("turn", requests(prompts, seeds)))
    return collect(engine, "turn", len(prompts))


def transformers_logprobs(model, prompt, rollout):
    ids = torch.from_numpy(np.concatenate([prompt, rollout.token_ids])).long()[None]
    with torch.no_grad():
        logprobs = torch.log_softmax(model(ids).logits[0, :-1].double(), -1)
    return logprobs.gather(-1, ids[0, 1:, None])[len(prompt) - 1 :, 0].numpy()


def largest_difference(model, prompts, answers):
    pairs = [(p, r) for p, group in zip(prompts, answers, strict=True) for r in group]
    assert sum(len(r.token_ids) for _, r in pairs) > 1000
    return max(np.abs(transformers_logprobs(model, p, r) - r.logprobs).max() for p, r in pairs)


def moved(seed):
    """The base model with noise on its weights, and the weights in the object store with their checksum."""
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    parameters = [(name, p.detach()) for name, p in model.named_parameters()]
    assert not any(name.startswith("lm_head") for name, _ in parameters), "tied: the trap of a stale head"
    checksum, references = Checksum(), []
    for bucket in buckets_of(parameters, limit=2**19):
        checksum.add(bucket)
        references.append(ray.put(bucket))
    assert len(references) > 1
    return model, references, checksum.hexdigest()


def test_logprobs_are_those_of_transformers_before_and_after_new_weights(engine, prompts):
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()
    assert largest_difference(model, prompts, generate(engine, prompts)) < 1e-4
    model, references, checksum = moved(seed=1)
    name, loaded, _ = ray.get(engine.load.remote(references, 7))
    assert (name, loaded) == ("rollout-0", checksum)
    answers = generate(engine, prompts)
    assert largest_difference(model, prompts, answers) < 1e-4
    assert {(r.version, r.weights) for group in answers for r in group} == {(7, loaded)}


def test_weights_that_come_while_answers_grow_change_only_what_follows(engine, prompts):
    before, references, old = moved(seed=1)
    ray.get(engine.load.remote(references, 7))
    ray.get(engine.begin.remote("turn"))
    after, references, _ = moved(seed=2)
    # An engine step brings up to 16 tokens of each completion. There are more than run at once, so whenever the weights
    # come, some are half-way.
    prompts = prompts * 4
    before_that = steps_of(engine)
    ray.get(engine.submit.remote("turn", requests(prompts, max_tokens=100)))
    while steps_of(engine) <= before_that:
        time.sleep(0.001)
    ray.get(engine.load.remote(references, 8))
    answers = collect(engine, "turn", len(prompts))

    mixed = 0
    for prompt, rollout in ((p, r) for p, group in zip(prompts, answers, strict=True) for r in group):
        assert sum(tokens for _, tokens in rollout.spans) == len(rollout.token_ids)
        assert rollout.version == rollout.spans[0][0]
        first = rollout.spans[0][1] if rollout.version == 7 else 0
        expected = np.concatenate(
            [transformers_logprobs(before, prompt, rollout)[:first],
             transformers_logprobs(after, prompt, rollout)[first:]]
        )  # fmt: skip
        # Rounding was up to 1.3e-4 here; the other policy's differ by .9 and more.
        assert np.abs(expected - rollout.logprobs).max() < 1e-3, "each token under the policy that sampled it"
        if rollout.version == 7:
            assert rollout.weights == old
            mixed += rollout.newest_version == 8
    assert mixed > 10


def kept_cache_logprobs(before, after, prompt, rollout):
    """Of tokens sampled by `before`, then by `after` from the keys and values that `before` computed."""
    first = rollout.spans[0][1]
    ids = torch.from_numpy(np.concatenate([prompt, rollout.token_ids])).long()[None]
    with torch.no_grad():
        start = before(ids[:, : len(prompt) + first - 1], use_cache=True)
        rest = after(ids[:, len(prompt) + first - 1 : -1], past_key_values=start.past_key_values)
    logits = torch.cat((start.logits[:, len(prompt) - 1 :], rest.logits), 1)[0]
    return torch.log_softmax(logits.double(), -1).gather(-1, ids[0, len(prompt) :, None])[:, 0].numpy()


def test_completions_can_keep_their_keys_and_values_and_no_other_one_finds_them(engine, prompts):
    before, old, _ = moved(seed=7)
    after, new, _ = moved(seed=8)
    # Longer than two blocks, and more than run at once: some begin after the update, beside others of their prompt.
    long = [np.resize(prompt, 70) for prompt in prompts[:16]] * 5
    asked = requests(long, seeds=list(range(len(long))))
    found = ray.get(engine.__ray_call__.remote(kept, asked, ray.get(old), ray.get(new)))
    assert found.recomputed == 0
    mixed = fresh = 0
    for i, prompt in enumerate(long):
        for rollout in found.groups["train", 1, i]:
            if rollout.version == 401:
                expected, fresh = transformers_logprobs(after, prompt, rollout), fresh + 1
            elif len(rollout.spans) == 2:
                expected, mixed = kept_cache_logprobs(before, after, prompt, rollout), mixed + 1
            else:
                continue
            assert np.abs(expected - rollout.logprobs).max() < 1e-3
    assert mixed > 10
    assert fresh > 10
    for prompt, rollouts in found.others:
        assert (
            max(np.abs(transformers_logprobs(after, prompt, r) - r.logprobs).max() for r in rollouts) < 1e-3
        )


def test_an_earlier_caller_can_neither_put_requests_in_nor_take_groups_out(engine, prompts):
    ray.get(engine.begin.remote("old"))
    plenty = prompts * 20  # seconds of work, of which the next call sees little
    ray.get(engine.submit.remote("old", requests(plenty)))
    waiting = engine.collect.remote("old", 30.0)
    ray.get(engine.begin.remote("new"))
    left = ray.get(waiting).groups
    assert len(left) < len(plenty)
    ray.get(engine.submit.remote("old", requests(prompts)))
    ray.get(engine.submit.remote("new", requests(prompts[:2])))
    assert len(collect(engine, "new", 2)) == 2
    assert ray.get(engine.collect.remote("new", 0.2)).groups == []


def test_seeded_answers_do_not_depend_on_the_batch(engine, prompts):
    seeds = list(range(100, 100 + len(prompts)))
    together = generate(engine, prompts, seeds)
    alone = generate(engine, prompts[3:4], seeds[3:4])
    assert [r.text for r in alone[0]] == [r.text for r in together[3]]
    assert len({r.text for group in together for r in group}) > len(prompts), "samples of a task differ"


def test_what_vllm_refuses_is_said_and_the_others_are_answered(engine, prompts):
    greedy = Request(("train", 1, 2), prompts[2], Sampling(4, 8, temperature=0.0), 0)
    long = Request(("train", 1, 3), np.full(CONFIG.max_model_len + 1, 5, np.int32), Sampling(4, 8), 0)
    ray.get(engine.begin.remote("refusing"))
    ray.get(engine.submit.remote("refusing", [greedy, *requests(prompts[:2]), long]))
    groups, refused = {}, {}
    while len(groups) + len(refused) < 4:
        told = ray.get(engine.collect.remote("refusing", 5.0))
        groups |= told.groups
        refused |= told.refused
    assert sorted(groups) == [("train", 1, 0), ("train", 1, 1)]
    assert "greedy" in refused["train", 1, 2]
    assert "128" in refused["train", 1, 3]


def test_a_rollout_says_how_it_ended_and_the_engine_what_it_did(engine, prompts):
    before = ray.get(engine.collect.remote("other", 0.0))
    rollouts = [rollout for group in generate(engine, prompts) for rollout in group]
    told = ray.get(engine.collect.remote("other", 0.0))
    assert told.tokens - before.tokens == sum(len(rollout.token_ids) for rollout in rollouts)
    running = (told.completion_seconds - before.completion_seconds) / (
        told.busy_seconds - before.busy_seconds
    )
    assert 1 < running <= len(rollouts)
    for rollout in rollouts:
        assert len(rollout.logprobs) == len(rollout.token_ids) <= CONFIG.max_tokens
        assert (rollout.logprobs <= 0).all()
        assert rollout.finished == (rollout.token_ids[-1] == 2), "2 is the lab's end-of-sequence token"
        assert rollout.finished or len(rollout.token_ids) == CONFIG.max_tokens


def test_a_completion_ends_at_a_stop_token_too(engine, prompts):
    (comma,) = AutoTokenizer.from_pretrained(BASE)(",", add_special_tokens=False)["input_ids"]
    sampling = Sampling(4, CONFIG.max_tokens, stop_ids=(comma,))
    ray.get(engine.begin.remote("stopping"))
    asked = [Request(("train", 1, i), prompt, sampling, i) for i, prompt in enumerate(prompts)]
    ray.get(engine.submit.remote("stopping", asked))
    answers = [rollout for group in collect(engine, "stopping", len(prompts)) for rollout in group]
    stopped = [rollout for rollout in answers if comma in rollout.token_ids]
    assert stopped
    for rollout in stopped:
        assert rollout.finished
        assert (rollout.token_ids == comma).nonzero()[0].tolist() == [len(rollout.token_ids) - 1]
        assert len(rollout.logprobs) == len(rollout.token_ids), "the learner learns to write it"


def test_shortcuts_on_a_cpu_change_no_token(engine, prompts):
    # Longer than the number of seeds drawn at a time, and than several KV blocks.
    plainly, nucleus = Sampling(4, 100), Sampling(4, 100, temperature=1.2, top_p=0.9)
    steps = []

    def prompt_tokens():
        ray.get(engine.begin.remote("turn"))
        ray.get(engine.__ray_call__.remote(count_tokens))
        ray.get(engine.submit.remote("turn", requests(prompts, max_tokens=1)))
        collect(engine, "turn", len(prompts))
        return ray.get(engine.__ray_call__.remote(counted))

    def completions():
        ray.get(engine.begin.remote("turn"))
        steps.append(steps_of(engine))
        # Every third has no seed, so that the default generator is tested too.
        asked = [
            Request(("train", 1, i), prompt, (nucleus if i % 2 else plainly), None if i % 3 == 0 else 100 + i)
            for i, prompt in enumerate(prompts)
        ]
        ray.get(engine.submit.remote("turn", asked))
        groups = collect(engine, "turn", len(prompts))
        steps[-1] = steps_of(engine) - steps[-1]
        return groups

    shortened = completions()
    try:
        ray.get(engine.__ray_call__.remote(with_exact_shortcuts))
        exact = completions()
        ray.get(engine.__ray_call__.remote(without_shortcuts))
        plain = completions()
        repeated = prompt_tokens()
    finally:
        ray.get(engine.__ray_call__.remote(with_shortcuts))
    ray.get(engine.__ray_call__.remote(occupy_cache, 40))
    crowded = completions()
    ray.get(engine.__ray_call__.remote(occupy_cache, None))
    once = prompt_tokens()
    seeded = [i for i in range(len(prompts)) if i % 3]
    rounding = 0.0
    for i in seeded:
        for ours, same, theirs in zip(shortened[i], exact[i], plain[i], strict=True):
            assert ours.token_ids.tolist() == theirs.token_ids.tolist() == same.token_ids.tolist()
            assert same.logprobs.tolist() == theirs.logprobs.tolist()
            rounding = max(rounding, float(np.abs(ours.logprobs - theirs.logprobs).max()))
    assert 0 < rounding < 1e-4, "the kernel for norms sums in another order, and does nothing else"
    assert max(len(r.token_ids) for i in seeded for r in plain[i]) > 40
    for i in seeded:
        assert [r.token_ids.tolist() for r in crowded[i]] == [r.token_ids.tolist() for r in plain[i]]
    few, as_few, many, more = steps
    assert max(few, as_few) < many / 3, "an engine step brings several tokens of each completion"
    # Full blocks may be in the prefix cache before, the rest never is.
    ends = [len(prompt) % 32 for prompt in prompts]
    assert repeated >= 4 * sum(ends)
    assert sum(ends) <= once < repeated / 2, "completions of one prompt compute it once"
    assert more > few, "with a full cache, completions are interrupted and start again"


def test_with_asynchronous_scheduling_every_token_keeps_its_place_and_its_policy(engine, prompts):
    _, references, _ = moved(seed=3)
    buckets = ray.get(references)

    def wrong(keeps):
        """Tokens out of place, and tokens under another version than the one that sampled them."""
        found = ray.get(engine.__ray_call__.remote(play, requests(prompts, max_tokens=40), buckets, keeps))
        assert found.on_their_way == 3, "tokens were on their way at every update"
        misplaced = mislabelled = mixed = 0
        for i, prompt in enumerate(prompts):
            for rollout in found.groups["train", 1, i]:
                assert len(rollout.token_ids) == 40
                places = len(prompt) + np.arange(40)
                sampled = np.floor(-rollout.logprobs)
                said = np.repeat(*np.array(rollout.spans).T)
                misplaced += (rollout.token_ids != 5 + places % 20).sum()
                misplaced += (np.abs(-rollout.logprobs - sampled - places / 1024) > 1e-3).sum()
                mislabelled += (sampled != said).sum()
                mixed += len(rollout.spans) == 3
        assert mixed > 10
        return misplaced, mislabelled

    assert wrong(keeps=False) == (0, 0)
    assert wrong(keeps=True) == (0, 0)


def test_completions_wait_for_the_check_of_received_weights_and_steps_do_not(engine, prompts):
    _, references, checksum = moved(seed=4)
    mixed = [*requests(prompts[:2], max_tokens=3), *requests(prompts, max_tokens=40)[2:]]
    early, finished, groups = ray.get(
        engine.__ray_call__.remote(checked_late, ray.get(references), checksum, mixed)
    )
    assert finished >= 2, "the engine completed groups while the checksum was computed"
    assert early == 0
    assert sorted(groups) == [("train", 1, i) for i in range(len(prompts))]
    assert {(r.version, r.weights) for group in groups.values() for r in group} == {(300, checksum)}


def test_an_engine_that_received_other_weights_than_were_sent_returns_nothing(engine, prompts):
    _, references, checksum = moved(seed=5)
    raised = ray.get(
        engine.__ray_call__.remote(
            damaged, ray.get(references), checksum, requests(prompts[:2], max_tokens=3)
        )
    )
    for said in raised:
        assert f"the learner sent {checksum}" in said


def test_every_worker_of_an_engine_has_its_own_seat_in_a_broadcast(engine):
    _, references, checksum = moved(seed=6)
    found = ray.get(engine.__ray_call__.remote(two_workers, ray.get(references), checksum))
    assert found == {rank: (checksum, (checksum, True)) for rank in range(2)}
