"""Runs that no restart can fix end once, with the reason."""

import asyncio
import json

import pytest
import ray

from actors.grader import Grader
from actors.grader_pool import NoGraderError
from actors.weights.format import checksum_of
from benchmarks.fake_engine import FakeEngine, Law
from pipelines.train import train
from pipelines.training import actors

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def test_a_run_without_a_finite_loss_ends_once_and_says_why(small_job, cluster):
    # The KL divergence to the starting model is zero at first; with infinite weight it is NaN.
    # With a selector that the other tests don't use: it goes through the same loop.
    config = small_job(
        "learner.kl_coefficient=1e300", "learner.max_skipped_steps=1", "run.steps=8", "evaluation.pool=null",
        "selection.selector=mopps",
    )  # fmt: skip
    with pytest.raises(FloatingPointError, match=r"learner.max_skipped_steps = 1.*learner.kl_coefficient"):
        train(config)
    records = [json.loads(line) for line in (config.run.path / "metrics.jsonl").read_text().splitlines()]
    skipped = [record for record in records if record.get("skipped_updates")]
    assert len(skipped) == 1
    assert "loss" not in skipped[0]
    assert "stopped" in records[-1]
    assert records[-1]["step"] < 8
    assert len({record["weights"] for record in records if "weights" in record}) == 1, "nothing was learnt"
    summary = json.loads((config.run.path / "summary.json").read_text())
    assert summary["steps"] == records[-1]["step"]
    assert summary["reason"].startswith("FloatingPointError: ")


class RealWeights(FakeEngine):
    """Knows the checksum of real weights: with any other it is lost, and the third loss restarts the learner group."""

    async def load(self, buckets, version):
        self.version, self.checksum = version, checksum_of(await asyncio.gather(*buckets))
        return self.name, self.checksum, 0.0


def test_a_run_without_a_grader_ends_once_and_says_why(small_job, cluster, monkeypatch):
    def unmakeable(inputs, number, strategy):
        return f"grader-{number}", Grader.options(num_cpus=0).remote(1, graders=["magic"])

    def fake_engine(inputs, number, strategy):
        """No completion is ever graded, so a real one would prove no more."""
        engine = ray.remote(num_cpus=0)(RealWeights)
        return f"rollout-{number}", engine.remote(f"rollout-{number}", Law())

    monkeypatch.setattr(actors, "_grader", unmakeable)
    monkeypatch.setattr(actors, "_engine", fake_engine)
    config = small_job("learner.max_failures=3")
    with pytest.raises(NoGraderError, match=r"the only grader is gone for good; grader-0: .*'magic'"):
        train(config)
    events = [json.loads(line) for line in (config.run.path / "ledger.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("rewound") == 1, "the start, and no other"
    lost = {event["actor"]: event["reason"] for event in events if event["event"] == "lost"}
    assert lost.keys() == {"grader-0"}, lost
    summary = json.loads((config.run.path / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("failed", 0)
    assert summary["reason"].startswith("NoGraderError: the only grader is gone for good")
