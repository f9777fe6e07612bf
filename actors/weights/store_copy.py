"""The object store's copy of a broadcast version, for engines that take no part: made after the broadcast."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from actors.weights.format import Bucket

_COPIES_BEHIND = 4
"""Buckets on a GPU that may wait for their copy in host memory."""


class StoreCopy:
    """Collects the buckets of one version in host memory, then publishes them in a thread.

    The learner goes on meanwhile. On a CPU the buckets themselves are kept, which are copies of the weights. On a GPU
    each is copied to pinned memory on its own stream, beside the broadcast; that memory is kept for the next version.

    publish(version, bucket): puts one bucket into the store and returns when it is there. published(version): called
    when all are. Both run in the thread.
    """

    def __init__(self, publish: Callable[[int, Bucket], None], published: Callable[[int], None]) -> None:
        self._publish, self._published = publish, published
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-copy")
        self._collected: list[Bucket] = []
        self._publishing: Future[None] | None = None
        self._pinned: dict[str, torch.Tensor] = {}
        self._stream: Any = None
        self._copying: deque[tuple[Any, Bucket]] = deque()

    def add(self, bucket: Bucket) -> None:
        """Add one bucket of the next version."""
        self._collected.append([(name, self._on_host(tensor, name)) for name, tensor in bucket])
        if self._stream is not None:
            self._copying.append((self._stream.record_event(), bucket))
            if len(self._copying) > _COPIES_BEHIND:
                self._copying.popleft()[0].synchronize()

    def start(self, version: int) -> None:
        """Publish what was collected."""
        while self._copying:
            self._copying.popleft()[0].synchronize()
        collected, self._collected = self._collected, []
        self._publishing = self._thread.submit(self._all, version, collected)

    def settle(self) -> None:
        """Wait until the version that was started last is published. Raises the error of `publish` or `published`."""
        publishing, self._publishing = self._publishing, None
        self._collected = []
        if publishing is not None:
            publishing.result()

    def _all(self, version: int, buckets: list[Bucket]) -> None:
        buckets.reverse()
        while buckets:
            self._publish(version, buckets.pop())
        self._published(version)

    def _on_host(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        if not tensor.is_cuda:
            return tensor
        self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream())
        if name not in self._pinned:
            self._pinned[name] = torch.empty_like(tensor, device="cpu", pin_memory=True)
        with torch.cuda.stream(self._stream):
            return self._pinned[name].copy_(tensor, non_blocking=True)
