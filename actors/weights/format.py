"""The transfer format of weights: buckets of named tensors, and a checksum that both ends compute."""

from __future__ import annotations

import hashlib
import math
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


_ROW = 512
"""Words of eight bytes in a row of a tensor's content."""
_SLAB_ROWS = 1024
"""Rows summed at a time on a CPU: 4 MiB, which its cache holds for the second sum."""


class Checksum:
    """Twelve hex digits over names, types, shapes and bytes, fed bucket by bucket.

    Each tensor's bytes are summed on its own device, as words in rows of 512: as they are, so that every changed bit
    shows, weighted by row, and weighted by place in the row. Only the sums leave a GPU, all together at the end.
    """

    def __init__(self) -> None:
        self._tensors: list[str] = []
        self._sums: list[torch.Tensor] = []

    def add(self, bucket: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Add one bucket. On a GPU this returns before the sums are there."""
        for name, tensor in bucket:
            self._tensors.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}")
            self._sums.append(_sums(tensor.detach()))

    def hexdigest(self) -> str:
        """The checksum so far."""
        digest = hashlib.blake2b(digest_size=6)
        sums = torch.stack(self._sums).tolist() if self._sums else []
        for tensor, content in zip(self._tensors, sums, strict=True):
            digest.update(f"{tensor} {content};".encode())
        return digest.hexdigest()


def _sums(tensor: torch.Tensor) -> torch.Tensor:
    """The three sums over a tensor's bytes, int64 (3,), modulo 2^64, on its device. Copies none of a large tensor."""
    content = tensor.contiguous().view(-1).view(torch.uint8)
    if content.storage_offset() % 8:
        content = content.clone()  # words must be aligned
    words = content[: content.numel() // 8 * 8].view(torch.int64)
    table = words[: words.numel() // _ROW * _ROW].view(-1, _ROW)
    # Whatever fills no row counts like rows: each word and each byte by itself.
    left, tail = words[table.numel() :], content[words.numel() * 8 :]
    size = max(1, len(table) if table.is_cuda else _SLAB_ROWS)
    slabs = [table[start : start + size] for start in range(0, max(1, len(table)), size)]
    by_row, by_place = zip(*((slab.sum(1), slab.sum(0)) for slab in slabs), strict=True)
    rows = torch.cat((*by_row, left, tail.long()))
    places = torch.arange(1, max(rows.numel(), _ROW) + 1, device=rows.device)
    return torch.stack(
        (
            rows.sum(),
            (rows * places[: rows.numel()]).sum(),
            (torch.stack(by_place).sum(0) * places[:_ROW]).sum(),
        )
    )


def checksum_of(buckets: Iterable[Iterable[tuple[str, torch.Tensor]]]) -> str:
    """The checksum of buckets in their order."""
    checksum = Checksum()
    for bucket in buckets:
        checksum.add(bucket)
    return checksum.hexdigest()
