"""The object store's copy of a broadcast version, for engines that take no part: made after the broadcast."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import torch

from actors.weights.format import Bucket

_COPIES_BEHIND = 4
"""Buckets that may wait for their copy in host memory."""


class StoreCopy:
    """Collects the buckets of one version in host memory, then publishes them in a thread.

    The learner goes on meanwhile. The memory is kept for the next version: the first touch of fresh memory takes longer
    than the copy. On a CPU the thread copies, too. On a GPU the memory is pinned, and each bucket is copied on its own
    stream, beside the broadcast.

    publish(version, bucket): puts one bucket into the store and returns when it is there. published(version): called
    when all are. Both run in the thread.
    """

    def __init__(self, publish: Callable[[int, Bucket], None], published: Callable[[int], None]) -> None:
        self._publish, self._published = publish, published
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-copy")
        self._collected: list[Bucket] = []
        self._publishing: Future[None] | None = None
        self._kept: dict[str, torch.Tensor] = {}
        self._stream: Any = None
        self._copying: deque[Callable[[], Any]] = deque()

    def add(self, bucket: Bucket) -> None:
        """Copy one bucket of the next version. It must not change before `start` returns."""
        on_gpu = any(tensor.is_cuda for _, tensor in bucket)
        copies = [(name, self._place(name, tensor)) for name, tensor in bucket]
        self._collected.append(copies)
        self._copying.append(self._on_stream(copies, bucket) if on_gpu else self._in_thread(copies, bucket))
        if len(self._copying) > _COPIES_BEHIND:
            self._copying.popleft()()

    def start(self, version: int) -> None:
        """Publish what was collected."""
        while self._copying:
            self._copying.popleft()()
        collected, self._collected = self._collected, []
        self._publishing = self._thread.submit(self._all, version, collected)

    def settle(self) -> None:
        """Wait until the version that was started last is published. Raises the error of `publish` or `published`."""
        publishing, self._publishing = self._publishing, None
        self._collected = []
        self._copying.clear()
        if publishing is not None:
            publishing.result()

    def _all(self, version: int, buckets: list[Bucket]) -> None:
        for bucket in buckets:
            self._publish(version, bucket)
        self._published(version)

    def _place(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """The memory for a tensor's copies."""
        if name not in self._kept:
            self._kept[name] = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
        return self._kept[name]

    def _in_thread(self, copies: Bucket, bucket: Bucket) -> Callable[[], Any]:
        """Start to copy; returns what waits for it."""
        return self._thread.submit(_copy, copies, bucket).result

    def _on_stream(self, copies: Bucket, bucket: Bucket) -> Callable[[], Any]:
        self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            _copy(copies, bucket)
            copied = self._stream.record_event()
        # With the bucket, whose memory may otherwise get other tensors before.
        return partial(_wait, copied, bucket)


def _wait(copied: Any, bucket: Bucket) -> None:
    copied.synchronize()


def _copy(copies: Bucket, bucket: Bucket) -> None:
    for (_, copy), (_, tensor) in zip(copies, bucket, strict=True):
        copy.copy_(tensor, non_blocking=True)
