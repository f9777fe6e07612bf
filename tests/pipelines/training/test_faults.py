"""Every write and rename of a run fails once: the run continues, or ends and resumes to the same metrics."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bots.pool import TaskPool
from bots.rollouts.encoded_pool import EncodedPool, Prompts
from bots.rollouts.ledger import audit
from pipelines.shared.preflight import RunInputs
from pipelines.shared.summary import read_metrics
from tests.pipelines.faults import KINDS, failing
from tests.pipelines.in_process_run import run

pytestmark = pytest.mark.slow
STEPS = 4


def inputs_of(small_job, name):
    table = pa.table(
        {
            "id": [f"t{i}" for i in range(40)],
            "prompt": [f"{i}?" for i in range(40)],
            "answer": ["1"] * 40,
            "grader": ["exact"] * 40,
            "level": pa.array([i % 3 for i in range(40)], pa.int32()),
        }
    )
    prompts = Prompts([np.array([i], np.int32) for i in range(40)])
    config = small_job(
        f"run.steps={STEPS}",
        "run.checkpoint_every=2",
        "run.checkpoints_kept=9",
        "evaluation.pool=none",
        name=name,
    )
    return RunInputs(config, "", EncodedPool(TaskPool.from_arrow(table), prompts), None)


def results(folder):
    """What a run is compared by: every step's line without its times, and its rollouts."""
    records = [
        {key: value for key, value in record.items() if "seconds" not in key and key != "tensorboard_failed"}
        for record in read_metrics(folder)
    ]
    kept = [
        pq.read_table(folder / "rollouts" / f"{step:06d}.parquet").to_pylist() for step in range(1, STEPS + 1)
    ]
    return records, kept


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    from bots.config.train import load_config
    from tests.pipelines.conftest import LAB, SMALL

    def job(*overrides, name):
        folder = tmp_path_factory.mktemp("undisturbed")
        return load_config(LAB, [*SMALL, f"run.folder={folder}", f"run.name={name}", *overrides])

    return results(run(inputs_of(job, "run")))


def chosen(calls, kind):
    """Which operations fail: all for lack of space; writes also halfway; one per file with access denied."""
    if kind == "full":
        return range(len(calls))
    if kind == "half":
        return [at for at, (operation, _) in enumerate(calls) if operation in ("write", "parquet", "arrow")]
    return [at for at, call in enumerate(calls) if call not in calls[:at]]


@pytest.mark.parametrize("kind", KINDS)
def test_each_write_and_rename_fails_once(small_job, monkeypatch, undisturbed, kind):
    with failing(monkeypatch, small_job(name="counted").run.path, None) as counted:
        run(inputs_of(small_job, "counted"))
    assert {operation for operation, _ in counted.calls} >= {"open", "write", "rename", "parquet", "arrow"}
    went_on = 0
    for at in chosen(counted.calls, kind):
        inputs = inputs_of(small_job, f"run-{at}")
        folder = inputs.config.run.path
        with failing(monkeypatch, folder, at, kind) as faults:
            try:
                run(inputs)
                went_on += 1
            except (OSError, ValueError) as error:
                words = str(error)
                assert "No space left" in words or "Permission denied" in words, (at, faults.hit, words)
                assert len(words.splitlines()) == 1
        case = f"{kind}: operation {at}, {faults.hit}"
        assert faults.hit is not None, case
        if not (folder / "config.yaml").exists():
            continue  # nothing had started; the same command starts it
        with failing(monkeypatch, folder, None):
            run(inputs, resume=True)
        assert results(folder) == undisturbed, case
        found = audit(folder / "ledger.jsonl")
        assert sorted(set(found.trained.values())) == list(range(1, STEPS + 1)), case
    assert went_on < len(counted.calls) // 2
