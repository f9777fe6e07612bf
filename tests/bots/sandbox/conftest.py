from collections.abc import Iterator

import pytest

from bots.sandbox import Limits, Sandbox, SandboxUnavailableError


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    try:
        box = Sandbox(Limits(cpu_seconds=1, wall_seconds=3.0, memory_bytes=1 << 29))
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    with box:
        yield box
