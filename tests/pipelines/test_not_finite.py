"""A run whose loss is never finite: skipped as often as configured, then ended with the reason."""

import json

import pytest

from pipelines.train import train

pytestmark = pytest.mark.slow


def test_a_run_without_a_finite_loss_ends_once_and_says_why(small_job, cluster):
    # The KL divergence to the starting model is zero at first; infinitely weighted, it is not a number.
    config = small_job(
        "learner.kl_coefficient=1e300", "learner.max_skipped_steps=1", "run.steps=8", "evaluation.pool=null"
    )
    with pytest.raises(FloatingPointError, match=r"learner.max_skipped_steps = 1.*learner.kl_coefficient"):
        train(config)
    records = [json.loads(line) for line in (config.run.path / "metrics.jsonl").read_text().splitlines()]
    skipped = [record for record in records if record.get("skipped_updates")]
    assert len(skipped) == 1
    assert "loss" not in skipped[0]
    assert "stopped" in records[-1]
    assert records[-1]["step"] < 8
    assert len({record["weights"] for record in records if "weights" in record}) == 1, "nothing was learnt"
    assert json.loads((config.run.path / "summary.json").read_text())["steps"] == records[-1]["step"]
