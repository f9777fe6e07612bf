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


def require_hooks(owner: type, mixin: type, names: Iterable[str], tested: str) -> None:
    """Raise UnsupportedPeerError unless a trainer has all methods that its adapter extends.

    owner: the class with the adapter. mixin: the adapter; what follows it in the order of `owner` is the trainer.
    tested: the trainer and its versions, for the message.
    """
    order = owner.__mro__
    trainer = order[order.index(mixin) + 1 :]
    missing = [name for name in names if not any(name in vars(base) for base in trainer)]
    if missing:
        found = f"{trainer[0].__module__}.{trainer[0].__qualname__}"
        raise UnsupportedPeerError(
            f"{found} has no {', '.join(missing)}, which the adapter extends; it works with {tested}, as "
            f"`class Mine({mixin.__name__}, Trainer)`"
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
