"""Broadcasts into a real engine, run inside its actor's process: the learner's end is a thread there."""

import sys
import threading
from types import SimpleNamespace

import ray

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def sending(buckets, checksum, size=2):
    """Start a learner's end that sends these buckets; returns the channel for seat 1."""
    from actors.weights.broadcast import Sender, open_store
    from actors.weights.channel import BroadcastChannel

    store = open_store("127.0.0.1", 60)
    channel = BroadcastChannel("127.0.0.1", store.port, False, 60)

    def send():
        sender = Sender(channel.for_seat(0, size), store)
        for bucket in buckets:
            sender.send(bucket)
        sender.finish(checksum)

    threading.Thread(target=send).start()
    return channel.for_seat(1, size)


def checked_late(actor, buckets, checksum, requests):
    """Complete requests under weights whose checksum takes long.

    Returns the groups returned before it is known, those finished in the engine by then, and all.
    """
    from actors.weights.late_checksum import LateChecksum

    def between_steps(engine):
        known = threading.Event()
        digest = LateChecksum._all

        def late(self):
            known.wait()
            return digest(self)

        LateChecksum._all = late
        try:
            engine.receive(sending(buckets, checksum), 300)
            for request in requests:
                engine.submit(request)
            early = {}
            # Not until the last one: with nothing else to do, the engine would wait for the checksum.
            while len(engine._open) > len(requests) - 2:
                early |= engine.step()
            finished = len(requests) - len(engine._open)
            known.set()
            groups = dict(early)
            while engine.unfinished:
                groups |= engine.step()
            return len(early), finished, groups
        finally:
            known.set()
            LateChecksum._all = digest
            engine.abort()

    return actor._between_steps(between_steps)


def damaged(actor, buckets, checksum, requests):
    """One bit changes on the way; returns what the engine raises instead of completions, and again on an update."""
    import torch

    from actors.weights.transfer import WrongWeights

    def error_of(call):
        try:
            return call()
        except WrongWeights as error:
            return str(error)

    def until_one_is_complete(engine):
        for request in requests:
            engine.submit(request)
        while True:
            if groups := engine.step():
                return groups

    def between_steps(engine):
        name, tensor = buckets[0][0]
        changed = tensor.clone()
        changed.view(-1).view(torch.int32)[5] ^= 1
        try:
            channel = sending([[(name, changed), *buckets[0][1:]], *buckets[1:]], checksum)
            # A small model's checksum may be known before the call ends: it then raises itself.
            found = error_of(lambda: engine.receive(channel, 301))
            if found == checksum:
                found = error_of(lambda: until_one_is_complete(engine))
            return found, error_of(lambda: engine.load(buckets, 302))
        finally:
            engine.abort()
            # A real run restarts the actor here.
            engine._unchecked = False
            engine.load(buckets, 303)

    return actor._between_steps(between_steps)


def two_workers(actor, buckets, checksum):
    """The back-end of two workers of one engine, with stand-ins for their models; returns what each loaded."""
    import torch

    from actors.weights.format import checksum_of
    from actors.weights.transfer import NewWeights, Transfer

    channel = sending(buckets, checksum, size=3)

    def worker(rank, found):
        loaded = []
        settings = SimpleNamespace(parallel_config=SimpleNamespace(rank=rank), model_config=None)
        model = SimpleNamespace(load_weights=loaded.append)
        transfer = Transfer(None, settings, torch.device("cpu"), model)
        # Every worker of an engine gets the same call.
        transfer.receive_weights(NewWeights(channel=channel))
        found[rank] = checksum_of(loaded), transfer.received(wait=True)

    found = {}
    threads = [threading.Thread(target=worker, args=(rank, found)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
