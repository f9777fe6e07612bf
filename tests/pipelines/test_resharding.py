"""A run of sharded adapters with broadcast weights, resumed with a different number of ranks and engines."""

import pyarrow.parquet as pq
import pytest

from pipelines.shared.summary import read_metrics
from pipelines.train import train

pytestmark = pytest.mark.slow


def test_a_run_goes_on_with_another_number_of_ranks_and_engines(cluster, small_job):
    kept = (
        "learner.zero_stage=3",
        "learner.lora.rank=8",
        "learner.weight_sync=broadcast",
        "evaluation.pool=null",
    )
    train(small_job(*kept, "run.steps=2", "learner.ranks=2", "rollout.engines=2"))
    config = small_job(*kept, "run.steps=4", "learner.ranks=1", "rollout.engines=1")
    train(config, resume=True)

    records = read_metrics(config.run.path)
    assert [record["step"] for record in records] == [0, 1, 2, 3, 4]
    steps = records[1:]
    assert all(abs(record["mismatch_kl"]) < 1e-4 for record in steps), "engines and learner hold one policy"
    assert len({record["weights"] for record in steps}) == 4, "each step's weights differ"
    assert not any(record["engine_losses"] for record in steps), "no broadcast broke off"
    # The first completions after the resume use the weights of the checkpoint: they were sent first.
    rollouts = pq.read_table(config.run.path / "rollouts" / "000003.parquet")
    assert set(rollouts["policy_version"].to_pylist()) == {2}
    assert set(rollouts["weights"].to_pylist()) == {steps[1]["weights"]}
