"""The run's metrics as Ray gauges, for Prometheus and Ray's dashboard."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

TAGGED = (
    ("score/", "score", "domain"),
    ("posterior/evidence/capability/", "posterior_evidence_capability", "domain"),
    ("seconds/", "phase_seconds", "phase"),
)
"""Prefix of a metric, its gauge, and the tag that holds the rest of its name."""


class RayGauges:
    """Gauges `bots_…` with the tag `run`, scraped by Prometheus from each node's metrics port (`ray_bots_…`).

    Scores, capabilities and phases have one gauge each, with the domain or the phase as a tag.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._gauges: dict[str, Any] = {}

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Set the gauges."""
        for name, value in {**metrics, "step": float(step)}.items():
            gauge, tags = gauge_of(name)
            self._gauge(gauge, tuple(tags)).set(value, {"run": self._run, **tags})

    def close(self) -> None:
        """Nothing is buffered."""

    def _gauge(self, name: str, tags: tuple[str, ...]) -> Any:
        from ray.util.metrics import Gauge

        # All gauges of one name share one set of tags, so the overall `score` has an empty domain.
        if name not in self._gauges:
            keys = ("run", *tags)
            self._gauges[name] = Gauge(name, description=f"BOTS: {name.removeprefix('bots_')}", tag_keys=keys)
        return self._gauges[name]


def gauge_of(metric: str) -> tuple[str, dict[str, str]]:
    """The gauge of a metric, and its tags besides the run."""
    for prefix, name, tag in TAGGED:
        if metric == prefix.rstrip("/") and tag == "domain":
            return f"bots_{name}", {tag: ""}
        if metric.startswith(prefix):
            return f"bots_{name}", {tag: metric.removeprefix(prefix)}
    return "bots_" + re.sub(r"[^a-zA-Z0-9_]", "_", metric), {}
