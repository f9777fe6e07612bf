"""A broadcast between real processes: gloo here, NCCL where there are GPUs."""

import asyncio
import os
import signal
import threading
from types import SimpleNamespace

import pytest
import ray
import torch
import torch.multiprocessing as mp

from actors.engine_pool import EnginePool
from actors.pooled_engine import PooledEngine, Weights
from actors.weights.broadcast import Receiver, Sender, open_store, receive
from actors.weights.buffers import Buffers
from actors.weights.channel import BroadcastChannel
from actors.weights.format import Checksum
from actors.weights.late_checksum import LateChecksum
from actors.weights.store_copy import StoreCopy
from bots.config.train import RolloutConfig

SHAPES = [[("a.weight", (300, 70)), ("a.bias", (3,))], [("b.weight", (64, 64))]]


def buckets(device):
    torch.manual_seed(3)
    return [
        [(name, torch.randn(shape, dtype=torch.bfloat16).to(device)) for name, shape in bucket]
        for bucket in SHAPES
    ]


def checksum_of(received):
    checksum = Checksum()
    for bucket in received:
        checksum.add(bucket)
    return checksum.hexdigest()


def engine(channels, answers, dies):
    """Takes part in one broadcast after another; reports for each whether it is complete, and its checksum."""
    for channel in channels:
        if channel.on_gpu:
            torch.cuda.set_device(channel.seat)
        stream = receive(channel)
        try:
            if dies:
                next(stream)
                os.kill(os.getpid(), signal.SIGKILL)
            answers.put(("whole", checksum_of(stream)))
        except RuntimeError as error:
            answers.put(("broken off", str(error)))


def start_engine(channels, answers, dies=False):
    # CUDA cannot be used in a forked process; on a CPU, the fork server has imported torch once for all.
    kind = "spawn" if channels[0].on_gpu else "forkserver"
    process = mp.get_context(kind).Process(target=engine, args=(channels, answers, dies))
    process.start()
    return process


@pytest.fixture
def answers():
    mp.get_context("forkserver").set_forkserver_preload(["torch.distributed", "actors.weights.broadcast"])
    return mp.get_context("spawn").Queue()


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(torch.cuda.device_count() < 3, reason="NCCL needs a GPU for each of 3"),
            ],
        ),
    ],
)
def test_every_engine_receives_what_was_sent(device, answers):
    store = open_store("127.0.0.1", 60)
    channel = BroadcastChannel("127.0.0.1", store.port, device == "cuda", 60)
    processes = [start_engine([channel.for_seat(seat, 3)], answers) for seat in (1, 2)]
    sender = Sender(channel.for_seat(0, 3), store)
    for bucket in buckets(device):
        sender.send(bucket)
    sender.finish()
    whole = ("whole", checksum_of(buckets(device)))
    assert [answers.get(timeout=60), answers.get(timeout=60)] == [whole, whole]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def test_an_engine_that_dies_in_a_broadcast_breaks_it_off_for_all_and_the_next_one_reaches_the_others(
    answers,
):
    stores = [open_store("127.0.0.1", 60) for _ in range(2)]
    first, second = (BroadcastChannel("127.0.0.1", store.port, False, 20) for store in stores)
    dying = start_engine([first.for_seat(1, 3)], answers, dies=True)
    survivor = start_engine([first.for_seat(2, 3), second.for_seat(1, 2)], answers)
    sender = Sender(first.for_seat(0, 3), stores[0]).send(buckets("cpu")[0])
    dying.join(60)
    assert dying.exitcode == -signal.SIGKILL
    with pytest.raises(RuntimeError):
        sender.send(buckets("cpu")[1]).finish()
    # As when the learner gives up on a broadcast: group and store are gone.
    del sender
    stores[0] = None
    what, said = answers.get(timeout=60)
    assert what == "broken off", f"half of the weights must not pass for the whole: {said}"

    sender = Sender(second.for_seat(0, 2), stores[1])
    for bucket in buckets("cpu"):
        sender.send(bucket)
    sender.finish()
    assert answers.get(timeout=60) == ("whole", checksum_of(buckets("cpu")))
    survivor.join(60)
    assert survivor.exitcode == 0


def test_an_engine_that_never_comes_is_not_waited_for_beyond_the_limit():
    store = open_store("127.0.0.1", 1)
    channel = BroadcastChannel("127.0.0.1", store.port, False, 1.0)
    with pytest.raises(RuntimeError, match="time"):
        Sender(channel.for_seat(0, 2), store)


def keeping_engine(channel, answers):
    """Takes part in three versions with one end; the later ones find the group and the memory of the first."""
    end = Receiver()
    answers.put(checksum_of(end.receive(channel)))
    group, held = end._group, end._buffers.bytes
    answers.put((checksum_of(end.receive(channel)), end._group is group, end._buffers.bytes == held))
    # What somebody keeps is not written over.
    kept = list(end.receive(channel))
    answers.put(checksum_of(kept))


def test_a_group_carries_one_version_after_another(answers):
    store = open_store("127.0.0.1", 60)
    channel = BroadcastChannel("127.0.0.1", store.port, False, 60, group=4)
    process = mp.get_context("forkserver").Process(
        target=keeping_engine, args=(channel.for_seat(1, 2), answers)
    )
    process.start()
    sender = Sender(channel.for_seat(0, 2), store)
    first = buckets("cpu")
    second = [[(name, tensor + 1) for name, tensor in bucket] for bucket in first]
    for version in (first, second, first):
        for bucket in version:
            sender.send(bucket)
        sender.finish()
    assert answers.get(timeout=60) == checksum_of(first)
    assert answers.get(timeout=60) == (checksum_of(second), True, True)
    assert answers.get(timeout=60) == checksum_of(first)
    # What describes a version does not stay in the store.
    assert not any(store.check([f"4/bucket/{number}"]) for number in range(9))
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_the_pool_keeps_a_group_while_its_members_are_the_same(workers):
    nothing = [lambda *_: None] * 7
    pool = EnginePool(RolloutConfig(gpus=workers), *nothing)
    taken = []
    actor = SimpleNamespace(receive=SimpleNamespace(remote=lambda channel, version: taken.append(channel)))
    pool._engines = [SimpleNamespace(up=True, turn=f"turn-{i}", actor=actor) for i in range(2)]
    channel = BroadcastChannel("here", 1, False, 60)

    def group_of(has):
        taken.clear()
        seated = pool.invite(1, BroadcastChannel("here", 1, False, 60, has))
        assert [(c.group, c.seat, c.size) for c in (seated, *taken)] == [
            (seated.group, seat, workers * len(taken) + 1)
            for seat in [0, *range(1, workers * len(taken) + 1, workers)]
        ]
        return seated.group

    first = group_of(-1)
    assert group_of(first) == first
    broken = group_of(-1)
    assert broken != first, "the learner has lost it"
    pool._engines[0].turn = "turn-2"
    restarted = group_of(broken)
    assert restarted != broken
    pool._engines[1].up = False
    fewer = group_of(restarted)
    assert fewer != restarted
    assert len(taken) == 1
    pool._engines[0].up = False
    assert pool.invite(2, channel) is None


def follower(load):
    """A pool, its only engine, which loads weights by `load`, and the task that keeps it up to date."""
    pool = EnginePool(RolloutConfig(), *[lambda *_: None] * 7)
    engine = PooledEngine("rollout-0", SimpleNamespace(load=SimpleNamespace(remote=load)), 0, up=True)
    pool._engines = [engine]
    return pool, engine, asyncio.create_task(pool._follow_weights(engine))


def test_an_engine_that_missed_a_broadcast_loads_it_once_the_store_has_it():
    loaded = []

    async def load(buckets, version):
        loaded.append((buckets, version))
        return "rollout-0", "c0ffee", 0.1

    async def play():
        pool, engine, following = follower(load)
        pool.set_weights(Weights(3, None, "c0ffee"))
        await asyncio.sleep(0.05)
        assert (loaded, engine.version) == ([], None)
        pool.set_stored(2, ["old"])
        await asyncio.sleep(0.05)
        assert loaded == [], "of another version"
        pool.set_stored(3, ["new"])
        while engine.version is None:
            await asyncio.sleep(0.01)
        assert (loaded, engine.version) == ([(["new"], 3)], 3)
        # It is not loaded twice.
        pool.set_stored(3, ["new"])
        await asyncio.sleep(0.05)
        assert len(loaded) == 1
        following.cancel()

    asyncio.run(asyncio.wait_for(play(), 30))


def test_weights_that_are_lost_with_their_node_are_not_the_engines_fault():
    asked = []

    async def load(buckets, version):
        asked.append(version)
        if buckets == ["lost"]:
            raise ray.exceptions.OwnerDiedError("ab" * 28, "", "")
        return "rollout-0", "c0ffee", 0.1

    async def play():
        pool, engine, following = follower(load)
        pool.set_weights(Weights(3, ["lost"], "c0ffee"))
        await asyncio.sleep(0.05)
        assert (asked, engine.version, following.done()) == ([3], None, False)
        assert "policy version 3 is lost" in pool._last_reason
        # The learner has started again and sends its weights.
        pool.set_weights(Weights(2, ["kept"], "c0ffee"))
        while engine.version is None:
            await asyncio.sleep(0.01)
        assert (asked, engine.version) == ([3, 2], 2)
        following.cancel()

    asyncio.run(asyncio.wait_for(play(), 30))


@pytest.mark.parametrize("failing", [False, True])
def test_the_learner_goes_on_while_the_store_gets_its_copy(failing):
    may, published = threading.Event(), []

    def publish(version, bucket):
        assert may.wait(30)
        if failing:
            raise TimeoutError("the broker hangs")
        published.append((version, [(name, tensor.tolist()) for name, tensor in bucket]))

    copy = StoreCopy(publish, lambda version: published.append((version, "announced")))
    for name in "ab":
        copy.add([(name, torch.ones(2))])
    copy.start(4)
    assert not published
    may.set()
    if failing:
        with pytest.raises(TimeoutError, match="the broker hangs"):
            copy.settle()
        return
    copy.settle()
    first = id(copy._kept["a"])
    assert published == [(4, [("a", [1, 1])]), (4, [("b", [1, 1])]), (4, "announced")]
    weights = torch.zeros(2)
    copy.add([("a", weights)])
    copy.start(5)
    weights += 1  # the learner's next step
    copy.settle()
    assert published[3:] == [(5, [("a", [0, 0])]), (5, "announced")]
    assert id(copy._kept["a"]) == first, "the memory of the version before"


def test_memory_is_used_again_when_no_view_of_it_is_left():
    buffers = Buffers()
    first = buffers.empty([3, 5], torch.bfloat16)
    first.fill_(2)
    row = first[1]
    place = first.data_ptr()
    del first
    second = buffers.empty([15], torch.bfloat16)
    second.zero_()
    assert (row.tolist(), buffers.bytes) == ([2] * 5, 60)
    del row
    assert buffers.empty([30], torch.uint8).data_ptr() == place
    assert buffers.bytes == 60
    assert buffers.empty([0, 4], torch.float32).shape == (0, 4)


def test_a_late_checksum_is_the_same_and_passes_errors_on():
    late = LateChecksum()
    for bucket in buckets("cpu"):
        late.add(bucket)
    assert not late.done
    assert late.hexdigest() == checksum_of(buckets("cpu"))
    assert late.done
    broken = LateChecksum()
    broken.add([("a", torch.ones(2).to_sparse())])
    broken.add([("b", torch.ones(2))])
    with pytest.raises(RuntimeError):
        broken.hexdigest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.uint8])
def test_a_checksum_shows_every_changed_bit_and_place(dtype):
    torch.manual_seed(5)
    tensor = torch.randint(0, 100, (3, 1111)).to(dtype)
    whole = checksum_of([[("a", tensor)]])
    assert checksum_of([[("a", tensor.clone())]]) == whole
    # Cut out of a buffer, at an odd place.
    assert (
        checksum_of([[("a", torch.cat((tensor.flatten()[:3], tensor.flatten()))[3:].view(3, 1111))]]) == whole
    )
    others = [("b", tensor), ("a", tensor.view(1111, 3)), ("a", tensor[:2]), ("a", tensor.flip(0))]
    for place in (0, 700, 3332):
        for bit in (0, 7):
            changed = tensor.clone()
            changed.view(-1).view(torch.uint8)[place * tensor.element_size()] ^= 1 << bit
            others.append(("a", changed))
    assert len({whole, *(checksum_of([[other]]) for other in others)}) == len(others) + 1
