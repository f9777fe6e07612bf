"""A broadcast of weights from the learner's rank 0 to all engines: NCCL between GPUs, gloo between CPUs.

A process group lives as long as its members: another one is made when an engine joins, is lost or breaks a broadcast
off. So nobody waits for a dead engine. Names and shapes travel through the group's key-value store.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, ProcessGroupGloo, TCPStore

from actors.weights.buffers import Buffers
from actors.weights.channel import BroadcastChannel
from actors.weights.format import Bucket


def open_store(host: str, timeout_s: float) -> TCPStore:
    """A key-value store on a free port of this node, for the learner's rank 0."""
    limit = timedelta(seconds=timeout_s)
    return TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=limit)


class Sender:
    """The learner's end of one group. Raises RuntimeError if a member is missing or leaves; it is of no use then.

    store: from `open_store`. channel: the one for seat 0.
    """

    def __init__(self, channel: BroadcastChannel, store: TCPStore) -> None:
        self.number = channel.group
        self._store = PrefixStore(f"{channel.group}", store)
        self._group = _group(channel, self._store)
        self._sent = 0
        self._finished = 0
        self._in_transit: tuple[Bucket, list[Any]] = [], []

    def send(self, bucket: Bucket) -> Sender:
        """Start to send one bucket, from this end's device, to all engines; returns self.

        The bucket before it is then complete, so that the caller gathers one bucket while another is in transit. The
        caller must not change a bucket's tensors.
        """
        # First: an engine then takes up this bucket as soon as it has the one before.
        self._describe({"tensors": [_description(name, tensor) for name, tensor in bucket]})
        self._arrive()
        self._in_transit = bucket, [self._group.broadcast(tensor, 0) for _, tensor in bucket]
        return self

    def finish(self, checksum: str = "") -> Sender:
        """Mark the end of a policy version, and wait until every engine has everything. checksum: the version's."""
        self._arrive()
        self._describe({"tensors": [], "checksum": checksum})
        # A member that leaves the group before the others have everything would cut them off.
        self._group.barrier().wait()
        for number in range(self._finished, self._sent):
            self._store.delete_key(f"bucket/{number}")
        self._finished = self._sent
        return self

    def _arrive(self) -> None:
        (_, works), self._in_transit = self._in_transit, ([], [])
        for work in works:
            work.wait()

    def _describe(self, bucket: dict[str, Any]) -> None:
        self._store.set(f"bucket/{self._sent}", json.dumps(bucket))
        self._sent += 1


def _description(name: str, tensor: torch.Tensor) -> tuple[str, str, list[int]]:
    return name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)


class Receiver:
    """An engine's end. It keeps its group, and on a CPU its memory, from one policy version to the next.

    checksum: what the learner computed of the newest complete version.
    """

    def __init__(self) -> None:
        self.checksum = ""
        self._channel: BroadcastChannel | None = None
        self._store: Any = None
        self._group: Any = None
        self._received = 0
        self._buffers = Buffers()

    def receive(self, channel: BroadcastChannel) -> Iterator[Bucket]:
        """The buckets of one version. A tensor's memory is not used again while anything refers to it.

        (vLLM may keep a tensor until its layer is complete.) The next bucket is in transit while the caller loads one.
        Raises RuntimeError if a member is missing or leaves.
        """
        if channel != self._channel:
            self._join(channel)
        # A version that breaks off leaves the group unusable: the next one joins another.
        self._channel = None
        device = torch.device("cuda", torch.cuda.current_device()) if channel.on_gpu else torch.device("cpu")
        described = self._next()
        arriving = self._start(described, device)
        while described["tensors"]:
            bucket, works = arriving
            for work in works:
                work.wait()
            if early := self._is_described():
                arriving = self._start(described := self._next(), device)
            yield bucket
            if not early:
                arriving = self._start(described := self._next(), device)
        self._group.barrier().wait()
        self.checksum = described["checksum"]
        self._channel = channel

    def _start(self, described: dict[str, Any], device: torch.device) -> tuple[Bucket, list[Any]]:
        bucket = [
            (name, self._empty(shape, getattr(torch, dtype), device))
            for name, dtype, shape in described["tensors"]
        ]
        return bucket, [self._group.broadcast(tensor, 0) for _, tensor in bucket]

    def _empty(self, shape: list[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        # PyTorch itself uses a GPU's memory again.
        on_gpu = device.type == "cuda"
        return torch.empty(shape, dtype=dtype, device=device) if on_gpu else self._buffers.empty(shape, dtype)

    def _join(self, channel: BroadcastChannel) -> None:
        self._group = self._store = None
        limit = timedelta(seconds=channel.timeout_s)
        store = TCPStore(channel.host, channel.port, is_master=False, timeout=limit)
        self._store = PrefixStore(f"{channel.group}", store)
        self._group = _group(channel, self._store)
        self._received = 0

    def _is_described(self) -> bool:
        return bool(self._store.check([f"bucket/{self._received}"]))

    def _next(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads(self._store.get(f"bucket/{self._received}"))
        self._received += 1
        return described


def receive(channel: BroadcastChannel) -> Iterator[Bucket]:
    """The buckets of one version, from a group that is used once."""
    return Receiver().receive(channel)


def _group(channel: BroadcastChannel, store: PrefixStore) -> Any:
    """A process group. (Torch's type annotations of the back-ends lack their collective operations.)"""
    limit = timedelta(seconds=channel.timeout_s)
    within = PrefixStore("weights", store)
    if not channel.on_gpu:
        return ProcessGroupGloo(within, channel.seat, channel.size, limit)
    options = dist.ProcessGroupNCCL.Options()
    options._timeout = limit
    return dist.ProcessGroupNCCL(within, channel.seat, channel.size, options)
