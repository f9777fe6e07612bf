"""A checksum that is computed beside the work that made its tensors, so that the work need not wait for it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch

from actors.weights.format import Bucket, Checksum

BEHIND = 4
"""Buckets that may wait for their sum: each keeps its memory meanwhile."""


class LateChecksum:
    """The checksum of `Checksum`, in its own thread and, on a GPU, on its own stream.

    It holds a bucket until it has summed it. The tensors must not change until then.
    """

    def __init__(self) -> None:
        self._checksum = Checksum()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checksum")
        self._added: list[Future[None]] = []
        self._digest: Future[str] | None = None
        self._stream: Any = None

    def add(self, bucket: Bucket) -> None:
        """Add one bucket; returns before it is summed. Waits while more than `BEHIND` buckets are not summed."""
        ready = None
        if any(tensor.is_cuda for _, tensor in bucket):
            self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
            ready = torch.cuda.current_stream().record_event()
        self._added.append(self._thread.submit(self._add, bucket, ready))
        if len(self._added) > BEHIND:
            self._added[-BEHIND - 1].exception()  # `hexdigest` raises it

    def close(self) -> None:
        """No bucket follows."""
        self._digest = self._thread.submit(self._all)
        self._thread.shutdown(wait=False)

    @property
    def done(self) -> bool:
        """Whether everything is summed, or a sum has failed. False before `close`."""
        return self._digest is not None and self._digest.done()

    def hexdigest(self) -> str:
        """Close, and wait for the checksum. Raises the error of a sum that has failed."""
        if self._digest is None:
            self.close()
        assert self._digest is not None
        return self._digest.result()

    def _on_stream(self) -> Any:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _add(self, bucket: Bucket, ready: Any) -> None:
        with self._on_stream():
            if ready is not None:
                self._stream.wait_event(ready)
            self._checksum.add(bucket)
            for _, tensor in bucket:
                if tensor.is_cuda:
                    # Its memory may otherwise get another tensor before the sum is taken.
                    tensor.record_stream(self._stream)

    def _all(self) -> str:
        for added in self._added:
            added.result()
        with self._on_stream():
            return self._checksum.hexdigest()
