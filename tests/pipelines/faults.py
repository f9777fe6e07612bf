"""Full disks and read-only folders, at a moment that the test chooses; in this process only."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

KINDS = ("full", "denied", "half")
"""full: ENOSPC before anything is written. denied: EACCES. half: half of it is written, then ENOSPC."""


class Faults:
    """Counts file operations below a folder and makes one of them fail.

    at: number of the operation that fails, from 0; None: none. calls: (operation, file's name) of all operations so
    far. hit: the one that failed.
    """

    def __init__(self, folder: Path, at: int | None, kind: str) -> None:
        self.folder, self.at, self.kind = f"{folder}/", at, kind
        self.calls: list[tuple[str, str]] = []
        self.hit: tuple[str, str] | None = None

    def due(self, operation: str, path: Any) -> bool:
        """Whether this operation must fail."""
        name = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
        if not str(name).startswith(self.folder):
            return False
        self.calls.append((operation, Path(name).name))
        if len(self.calls) - 1 != self.at:
            return False
        self.hit = self.calls[-1]
        return True

    def error(self) -> OSError:
        """The operating system's error; without a name, as for a file that is already open."""
        code = errno.EACCES if self.kind == "denied" else errno.ENOSPC
        return OSError(code, os.strerror(code))


class FailingFile:
    """A file whose first write fails; half of it is written if the fault is of that kind."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def write(self, data: Any) -> int:
        """Fail."""
        if self._faults.kind == "half":
            self._file.write(
                bytes(data)[: len(data) // 2] if not isinstance(data, str) else data[: len(data) // 2]
            )
            self._file.flush()
        raise self._faults.error()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> FailingFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


@contextmanager
def failing(monkeypatch: Any, folder: Path, at: int | None, kind: str = "full") -> Iterator[Faults]:
    """In the block, one operation on a file below `folder` fails: opening to write, writing, truncating or renaming."""
    faults = Faults(folder, at, kind)
    real = {"open": io.open, "replace": os.replace, "truncate": os.truncate}
    real_parquet, real_sink = pq.write_table, pa.OSFile

    def open_(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+"):
            return real["open"](file, mode, *rest, **options)
        if faults.due("open", file):
            raise faults.error()
        opened = real["open"](file, mode, *rest, **options)
        return FailingFile(opened, faults) if "+" not in mode and faults.due("write", file) else opened

    def replace(source: Any, target: Any, **options: Any) -> None:
        if faults.due("rename", target):
            raise faults.error()
        real["replace"](source, target, **options)

    def truncate(path: Any, length: int) -> None:
        if faults.due("truncate", path):
            raise faults.error()
        real["truncate"](path, length)

    def whole(operation: str, write: Any, path: Any) -> None:
        if faults.due(operation, path):
            if kind == "half":
                Path(path).write_bytes(b"half of it")
            raise faults.error()

    def parquet(table: Any, where: Any, *rest: Any, **options: Any) -> None:
        whole("parquet", real_parquet, where)
        real_parquet(table, where, *rest, **options)

    def sink(path: Any, mode: str = "r") -> Any:
        if "w" in mode:
            whole("arrow", real_sink, path)
        return real_sink(path, mode)

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "open", open_)
        patched.setattr(io, "open", open_)
        patched.setattr(os, "replace", replace)
        patched.setattr(os, "fsync", lambda descriptor: None)  # a test's files need not outlive the machine
        patched.setattr(os, "truncate", truncate)
        patched.setattr(pq, "write_table", parquet)
        patched.setattr(pa, "OSFile", sink)
        yield faults
