"""Actor handles the coordinator uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Partners:
    """Actor handles that the coordinator uses; engines and graders come with their names."""

    posterior: Any
    broker: Any
    journal: Any
    engines: Sequence[tuple[str, Any]]
    graders: Sequence[tuple[str, Any]]
