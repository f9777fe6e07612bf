"""The transfer format of weights: buckets of named tensors, and a checksum that both ends compute."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence

import torch

Bucket = list[tuple[str, torch.Tensor]]


def buckets_of(parameters: Sequence[tuple[str, torch.Tensor]], limit: int) -> Iterator[Bucket]:
    """Cut (name, parameter) pairs into buckets of at most `limit` bytes; a larger parameter gets its own.

    Sizes are those of the whole parameter, even if ZeRO-3 keeps only a shard in this process.
    """
    bucket: Bucket = []
    size = 0
    for name, parameter in parameters:
        shape = getattr(parameter, "ds_shape", parameter.shape)
        bytes_ = math.prod(shape) * parameter.element_size()
        if bucket and size + bytes_ > limit:
            yield bucket
            bucket, size = [], 0
        bucket.append((name, parameter))
        size += bytes_
    if bucket:
        yield bucket


class Checksum:
    """Twelve hex digits over names, types, shapes and bytes (as CRC-32, 7 GB/s), fed bucket by bucket."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=6)

    def add(self, bucket: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Add one bucket; tensors on a GPU are copied to the CPU."""
        for name, tensor in bucket:
            content = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
            self._digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {content};".encode())

    def hexdigest(self) -> str:
        """The checksum so far."""
        return self._digest.hexdigest()


def checksum_of(buckets: Iterable[Iterable[tuple[str, torch.Tensor]]]) -> str:
    """The checksum of buckets in their order."""
    checksum = Checksum()
    for bucket in buckets:
        checksum.add(bucket)
    return checksum.hexdigest()
