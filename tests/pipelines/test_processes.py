"""The job as a process, with dynamic sampling, interrupted.

tests/cluster submits it to a running cluster and stops it with SIGTERM there.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bots.rollouts.ledger import audit
from tests.heads import processes_with
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.ray]
ROOT = Path(__file__).parents[2]
SMALL = [
    "pool.sources.0.size=200",
    "selection.selector=random",
    "selection.dynamic={oversample: 1.25}",
    "selection.tasks=8",
    "rollout.samples=4",
    "rollout.engines=1",
    "learner.ranks=1",
    "evaluation.pool.sources.0.size=40",
    "run.checkpoint_every=0",
]


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def environment(**extra):
    kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE")}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | extra


def test_an_interrupt_ends_everything_and_keeps_the_results(tmp_path):
    marker = f"BOTS_TEST_{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.train", "configs/lab.yaml", *SMALL, "run.steps=100000",
         f"run.folder={tmp_path}"],
        cwd=ROOT, env=environment(**{marker: "1"}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
        # A shell may have told its background children to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    metrics = tmp_path / "lab" / "metrics.jsonl"
    wait_for(lambda: len(lines(metrics)) > 3 or process.poll() is not None, "the third step")
    assert process.poll() is None, process.stdout.read()
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - started < 15, "an interrupt ends the job within 15 s"
    assert process.returncode == 130, output
    assert "results so far are kept" in output

    records = [json.loads(line) for line in lines(metrics)]
    assert [record["step"] for record in records] == list(range(len(records)))
    summary = json.loads((tmp_path / "lab" / "summary.json").read_text())
    assert summary["steps"] == len(records) - 1
    wait_for(lambda: not processes_with(marker), "the end of all that it started", 15)
    check_dynamic_sampling(tmp_path / "lab", records)


def check_dynamic_sampling(run, records):
    """It trained on groups with signal, and made up for the others."""
    ledger = audit(run / "ledger.jsonl")
    for record in records[1:]:
        rollouts = pq.read_table(run / "rollouts" / f"{record['step']:06d}.parquet").to_pandas()
        groups = rollouts.groupby("task")["reward"].agg(list)
        varied = sum(len(set(rewards)) > 1 for rewards in groups)
        trained = sum(step == record["step"] for step in ledger.trained.values())
        assert trained == min(8, varied)
        assert record["left_out_groups"] == len(groups) - trained
        assert len(groups) > 10, "random tasks of the lab are mostly without signal: there was a refill"
        assert record["tokens"] == rollouts["tokens"].sum(), "what is left out is paid for too"
    assert all("dynamic sampling" in reason for reason in ledger.dropped.values())
