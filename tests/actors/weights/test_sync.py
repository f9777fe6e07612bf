"""New weights from real ranks, through the real store, into a real engine; and the errors when a part hangs."""

import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import ray
import ray.train
import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.environment import engine_environment
from actors.loading import loading
from actors.weights.broker import WeightBroker
from actors.weights.format import Checksum, buckets_of
from bots.config.train import LearnerConfig, LoraConfig, ModelConfig, RolloutConfig
from bots.lab.checkpoints import checkpoint_path
from bots.lab.pool import lab_table
from bots.learning.batching import make_rank_batches
from bots.rollouts.rollout import Group

pytestmark = pytest.mark.slow
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
BASE = str(checkpoint_path("base"))
# (ZeRO stage, LoRA, broadcast)
KINDS = [(0, False, False), (3, False, True), (0, True, True), (3, True, False)]


@ray.remote(num_cpus=0.5)
class EngineProcess:
    """A real engine, and the broker's references on their way to it."""

    def __init__(self):
        with loading():
            from actors.engine import Engine, prepare_process

        prepare_process()
        config = RolloutConfig(samples=4, max_tokens=32, max_model_len=128, dtype="float32")
        self.engine = Engine(BASE, config)

    def load(self, broker, version):
        found, references = ray.get(broker.references.remote())
        assert found == version
        return self.engine.load(ray.get(references), version)

    def receive(self, channel, version):
        return self.engine.receive(channel, version)

    def load_half(self, buckets, version):
        """What an interrupted broadcast does to an engine; returns the version and checksum that it then reports."""

        def broken():
            yield buckets[0]
            raise RuntimeError("connection closed by peer")

        with pytest.raises(RuntimeError, match="closed by peer"):
            self.engine.load(broken(), version)
        return self.engine.version, self.engine.checksum

    def load_whole(self, buckets, version):
        return self.engine.load(buckets, version)

    def answer(self, prompts):
        return self.engine.generate(prompts, 4, max_tokens=32, seeds=list(range(len(prompts))))


@ray.remote
class Hanging:
    def keeper(self, node):
        return ray.get_runtime_context().current_actor

    def publish(self, version, bucket):
        time.sleep(3600)


@ray.remote(num_cpus=0)
class Announcements:
    """Stands in for the coordinator of a run."""

    def __init__(self, engine=None):
        self.engine = engine
        self.heard = []
        self.receiving = None

    def invite(self, version, channel):
        self.receiving = self.engine.receive.remote(channel.for_seat(1, 2), version)
        return channel.for_seat(0, 2)

    def invite_nobody(self, version, channel):
        return channel.for_seat(0, 3)

    async def received(self):
        return await self.receiving

    def new_weights(self, version, checksum, stored=True):
        self.heard.append((version, checksum))

    def stored(self, version):
        pass

    def all(self):
        return self.heard


def learner_of(stage, watch=None, **changes):
    with loading():
        from actors.learner import Learner

    torch.manual_seed(0)
    config = LearnerConfig(ranks=dist.get_world_size(), zero_stage=stage, lr=1e-3, **changes)
    return Learner(BASE, ModelConfig(path=BASE), config, temperature=1.0, watch=watch)


def prompts():
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    return [
        np.array(ids, np.int32) for ids in tokenizer(lab_table(16, 11)["prompt"].to_pylist())["input_ids"]
    ]


def answered(engine, seed):
    """Groups with the engine's completions and made-up rewards."""
    rewards = np.random.default_rng(seed)
    answers = ray.get(engine.answer.remote(prompts()))
    return [
        Group(row, prompt, rollouts, rewards.random(4))
        for row, (prompt, rollouts) in enumerate(zip(prompts(), answers, strict=True))
    ]


def train_and_sync(kinds, engine, broker, announcements):
    """Steps on the engine's own completions, with new weights after each; returns the learner's view of its sampler."""
    from actors.weights.sync import weight_sync_of

    first = dist.get_rank() == 0
    results = []
    for version, (stage, lora, broadcast) in enumerate(kinds):
        learner = learner_of(
            stage,
            lora=LoraConfig(rank=4, alpha=16.0) if lora else None,
            weight_sync="broadcast" if broadcast else "object_store",
        )
        sync = weight_sync_of(learner, *((broker, announcements) if first else (None, None)))
        figures = []
        for step in (1, 2):
            checksum = sync.send(10 * version + step)
            loaded = None
            if first and broadcast:
                loaded = ray.get(announcements.received.remote())
            elif first:
                loaded = ray.get(engine.load.remote(broker, 10 * version + step))
            shards = make_rank_batches(answered(engine, step), "grpo", 2, 512, 32) if first else None
            mine = [None]
            dist.scatter_object_list(mine, shards, src=0)
            figures.append({"sent": checksum, "loaded": loaded, **learner.update(mine[0], step)})
        results.append(figures)
    return results


@pytest.fixture(scope="module")
def engine(cluster):
    actor = EngineProcess.options(runtime_env={"env_vars": engine_environment(1, on_gpu=False)}).remote()
    yield actor
    ray.kill(actor)


def lonely_broadcast(learner, broker, announcements):
    """Two invited engines never join; returns what the store then holds."""
    from actors.weights.sync import BroadcastSync

    if not announcements:
        return BroadcastSync(learner, None, None).send(5)
    coordinator = SimpleNamespace(
        new_weights=announcements.new_weights,
        stored=announcements.stored,
        invite=announcements.invite_nobody,
    )
    sync = BroadcastSync(learner, broker, coordinator)
    checksum = sync.send(5)
    sync.settle()
    version, references = ray.get(broker.references.remote())
    return checksum, version, [name for bucket in ray.get(references) for name, _ in bucket]


def deaf_broker(learner, broker, announcements):
    from actors.weights.sync import ObjectStoreSync

    if not announcements:
        return ObjectStoreSync(learner, None, None).send(7)
    with pytest.raises(TimeoutError) as caught:
        ObjectStoreSync(learner, broker, announcements).send(7)
    return str(caught.value)


def late_rank(learner, watch):
    watch.arrive("something else")
    said = None
    if dist.get_rank() == 0:
        with pytest.raises(TimeoutError) as caught:
            list(learner.weight_buckets())
        said = str(caught.value)
    # Meanwhile the other rank waits here, alive.
    dist.broadcast(torch.zeros(1), 0)
    return said


LIMIT = 5.0


def failures(broker, hanging, announcements):
    """One after another on the same group of ranks."""
    from actors.learner_watch import RankWatch

    watch = RankWatch(LIMIT, node=f"node-{dist.get_rank()}")
    if dist.get_rank():
        broker = hanging = announcements = None

    def rank():
        learner = learner_of(0, watch, timeout_s=LIMIT)
        return (
            lonely_broadcast(learner, broker, announcements),
            deaf_broker(learner, hanging, announcements),
            late_rank(learner, watch),
        )

    return watch.run(rank)


def all_of_it(syncing, failing):
    """One group of ranks for this whole file."""
    return train_and_sync(KINDS, *syncing), failures(*failing)


@pytest.fixture(scope="module")
def group(run_group, engine):
    """What the ranks found, and the actors that they worked with."""
    broker, announcements = WeightBroker.remote(), Announcements.remote(engine)
    unheard = Announcements.remote()
    hanging = Hanging.options(num_cpus=0).remote()
    results, failed = run_group(
        2, all_of_it, (engine, broker, announcements), (WeightBroker.remote(), hanging, unheard)
    )
    return SimpleNamespace(
        results=results, failed=failed, broker=broker, announcements=announcements, unheard=unheard
    )


def test_engine_and_learner_hold_one_policy_after_every_step(group):
    results, heard = group.results, ray.get(group.announcements.all.remote())
    for version, (kind, steps) in enumerate(zip(KINDS, results, strict=True)):
        assert len({figures["sent"] for figures in steps}) == 2, f"{kind}: the weights did change"
        for step, figures in enumerate(steps, start=1):
            assert figures["loaded"] == figures["sent"]
            assert (10 * version + step, figures["sent"]) in heard
            # The mean KL divergence between the engine that sampled and the learner, over about 1000 tokens.
            assert abs(figures["mismatch_kl"]) < 1e-6, (kind, step)
            assert figures["grad_norm"] > 0
    # With stale weights the divergence would show: that is what the metric is for.
    start = Checksum()
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    start.add((name, parameter) for name, parameter in base.named_parameters())
    assert [steps[0]["sent"] for steps in results] == [start.hexdigest()] * 4, (
        "untrained adapters add nothing"
    )
    version, references = ray.get(group.broker.references.remote())
    assert (version, bool(references)) == (32, True)


def test_half_of_a_broadcast_never_counts_as_a_policy_version(engine):
    names_and_weights = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).named_parameters()
    buckets = list(buckets_of([(n, p.detach() + 0.01) for n, p in names_and_weights], 2**19))
    assert len(buckets) > 1
    whole = Checksum()
    for bucket in buckets:
        whole.add(bucket)
    loaded = ray.get(engine.load_whole.remote(buckets, 50))
    assert loaded == whole.hexdigest()
    changed = [[(name, tensor + 0.01) for name, tensor in bucket] for bucket in buckets]
    assert ray.get(engine.load_half.remote(changed, 51)) == (50, loaded)
    # Its weights are a mixture now, and vLLM accepts no others on top: only restarting the actor fixes that.
    with pytest.raises(RuntimeError, match="already active"):
        ray.get(engine.load_whole.remote(buckets, 52))


def test_a_broadcast_that_breaks_off_leaves_the_weights_in_the_store(group):
    checksum, version, names = group.failed[0]
    assert ray.get(group.unheard.all.remote()) == [(version, checksum)] == [(5, checksum)]
    assert names == [name for name, _ in AutoModelForCausalLM.from_pretrained(BASE).named_parameters()]


def test_a_broker_that_hangs_is_named_with_the_phase(group):
    said = "publishing policy version 7: no answer from the weight broker within learner.timeout_s = 5 s"
    assert said in group.failed[1]


def test_a_rank_that_hangs_is_named_with_its_node_and_the_phase(group):
    assert group.failed[2] == (
        "gathering weights: learner ranks did not come together within learner.timeout_s = 5 s: "
        "rank 1 on node-1 has not come, it is in 'something else'"
    )
