"""A broadcast of weights from the learner's rank 0 to all engines: NCCL between GPUs, gloo between CPUs.

Each policy version has its own process group, with the engines that are up. So nobody waits for a dead engine, and a
restarted one joins the next broadcast. Names and shapes travel through the group's key-value store.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, ProcessGroupGloo, TCPStore

from actors.weights.channel import BroadcastChannel
from actors.weights.format import Bucket


def open_store(host: str, timeout_s: float) -> TCPStore:
    """A key-value store on a free port of this node, for the learner's rank 0."""
    limit = timedelta(seconds=timeout_s)
    return TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=limit)


class Sender:
    """The learner's end. Raises RuntimeError if a member is missing or leaves.

    store: from `open_store`. channel: the one for seat 0.
    """

    def __init__(self, channel: BroadcastChannel, store: TCPStore) -> None:
        self._store = store
        self._group = _group(channel, store)
        self._sent = 0

    def send(self, bucket: Bucket) -> Sender:
        """Send one bucket, from this end's device, to all engines; returns self."""
        self._describe([(n, str(t.dtype).removeprefix("torch."), list(t.shape)) for n, t in bucket])
        for _, tensor in bucket:
            self._group.broadcast(tensor, 0).wait()
        return self

    def finish(self) -> Sender:
        """Mark the end, and wait until every engine has everything."""
        self._describe([])
        # The first member to leave the group would cut off the others.
        self._group.barrier().wait()
        return self

    def _describe(self, bucket: list[tuple[str, str, list[int]]]) -> None:
        self._store.set(f"bucket/{self._sent}", json.dumps(bucket))
        self._sent += 1


def receive(channel: BroadcastChannel) -> Iterator[Bucket]:
    """The buckets, each in fresh memory: vLLM may keep a tensor until its layer is complete."""
    limit = timedelta(seconds=channel.timeout_s)
    store = TCPStore(channel.host, channel.port, is_master=False, timeout=limit)
    group = _group(channel, store)
    device = torch.device("cuda", torch.cuda.current_device()) if channel.on_gpu else torch.device("cpu")
    number = 0
    while shapes := json.loads(store.get(f"bucket/{number}")):
        bucket = []
        for name, dtype, shape in shapes:
            tensor = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
            group.broadcast(tensor, 0).wait()
            bucket.append((name, tensor))
        yield bucket
        number += 1
    group.barrier().wait()


def _group(channel: BroadcastChannel, store: TCPStore) -> Any:
    """A process group. (Torch's type annotations of the back-ends lack their collective operations.)"""
    limit = timedelta(seconds=channel.timeout_s)
    within = PrefixStore("weights", store)
    if not channel.on_gpu:
        return ProcessGroupGloo(within, channel.seat, channel.size, limit)
    options = dist.ProcessGroupNCCL.Options()
    options._timeout = limit
    return dist.ProcessGroupNCCL(within, channel.seat, channel.size, options)
