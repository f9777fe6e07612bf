"""How weights travel: named tensors in buckets, with a checksum that both ends can take."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence

import torch

Bucket = list[tuple[str, torch.Tensor]]


def buckets_of(parameters: Sequence[tuple[str, torch.Tensor]], limit: int) -> Iterator[Bucket]:
    """Cut (name, parameter) pairs into runs of at most `limit` bytes; a larger parameter stands alone.

    Sizes are those of the whole parameter, also where ZeRO-3 keeps only a shard in this process.
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
        """Take in one bucket; tensors on a GPU are copied from it."""
        for name, tensor in bucket:
            content = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
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
