"""A broadcast between real processes: gloo here, NCCL where there are GPUs."""

import pytest
import torch
import torch.multiprocessing as mp

from actors.weight_broadcast import Sender, open_store, receive
from actors.weight_channel import Channel
from actors.weight_format import Checksum

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
        checksum.add([(name, tensor.cpu()) for name, tensor in bucket])
    return checksum.hexdigest()


def engine(channel, answers, leaves):
    if channel.on_gpu:
        torch.cuda.set_device(channel.seat)
    stream = receive(channel)
    if leaves:
        next(stream)
        return
    answers.put(checksum_of(stream))


def start_engines(channel, count, leaves=()):
    spawn = mp.get_context("spawn")
    answers = spawn.Queue()
    processes = [
        spawn.Process(target=engine, args=(channel.for_seat(seat, count + 1), answers, seat in leaves))
        for seat in range(1, count + 1)
    ]
    for process in processes:
        process.start()
    return processes, answers


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
def test_every_engine_receives_what_was_sent(device):
    store = open_store("127.0.0.1", 60)
    channel = Channel("127.0.0.1", store.port, device == "cuda", 60)
    processes, answers = start_engines(channel, 2)
    sender = Sender(channel.for_seat(0, 3), store)
    for bucket in buckets(device):
        sender.send(bucket)
    sender.finish()
    assert {answers.get(timeout=60), answers.get(timeout=60)} == {checksum_of(buckets(device))}
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def test_an_engine_that_leaves_breaks_the_broadcast_off_and_hangs_nobody():
    store = open_store("127.0.0.1", 60)
    channel = Channel("127.0.0.1", store.port, False, 20)
    processes, _ = start_engines(channel, 1, leaves={1})
    sender = Sender(channel.for_seat(0, 2), store)
    sender.send(buckets("cpu")[0])
    processes[0].join(60)
    with pytest.raises(RuntimeError):
        sender.finish()


def test_an_engine_that_never_comes_is_not_waited_for_beyond_the_limit():
    store = open_store("127.0.0.1", 1)
    channel = Channel("127.0.0.1", store.port, False, 1.0)
    with pytest.raises(RuntimeError, match="time"):
        Sender(channel.for_seat(0, 2), store)
