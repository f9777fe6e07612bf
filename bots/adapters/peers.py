"""Which versions of a trainer an adapter was written against."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version


class UnsupportedPeerError(ImportError):
    """A trainer that is not installed, or in a version whose hooks are different ones."""


def require(package: str, least: str, below: str, extra: str | None = None) -> str:
    """The installed version of a package, which must be in [least, below).

    extra: of bots-rft that brings it; None: there is none. Raises UnsupportedPeerError.
    """
    how = f"pip install 'bots-rft[{extra}]'" if extra else f"pip install '{package}>={least},<{below}'"
    try:
        found = version(package)
    except PackageNotFoundError:
        raise UnsupportedPeerError(f"{package} is not installed; {how}") from None
    if not _numbers(least) <= _numbers(found) < _numbers(below):
        raise UnsupportedPeerError(
            f"{package} {found} is not supported: this adapter works with {least} and later, below {below}; {how}"
        )
    return found


def require_hooks(owner: type, names: Iterable[str]) -> None:
    """Raise UnsupportedPeerError unless a trainer's class has all methods that its adapter replaces."""
    missing = [name for name in names if not callable(getattr(owner, name, None))]
    if missing:
        raise UnsupportedPeerError(
            f"{owner.__module__}.{owner.__qualname__} has no {', '.join(missing)}, which this adapter replaces"
        )


def _numbers(text: str) -> tuple[int, ...]:
    """Leading whole numbers of a version: 1.16.0rc1 → (1, 16, 0)."""
    numbers = []
    for part in text.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
