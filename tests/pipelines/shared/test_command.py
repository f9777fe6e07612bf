"""What a user sees of a job that ends with an error, and its exit status."""

import errno

import numpy as np
import pyarrow as pa
import pytest

from actors.reference import EndpointError
from bots import BOTS, TaskPool
from bots.config.train import load_config
from pipelines.shared.command import run_job
from pipelines.shared.resources import ResourceError


def raising(error):
    def job(console):
        raise error

    return job


def test_our_own_refusals_are_shown_without_a_traceback(capsys):
    assert run_job("train", lambda console: load_config("nowhere.yaml")) == 2
    assert capsys.readouterr().err == "bots train: no such configuration file: nowhere.yaml\n"
    pool = TaskPool.from_arrow(pa.table({"id": ["a", "b"]}))
    assert run_job("simulate", lambda console: BOTS(pool, p_star=0.5, rollouts=4).select(3)) == 2
    assert capsys.readouterr().err.startswith("bots simulate: ")


@pytest.mark.parametrize(
    "defect",
    [
        lambda console: np.zeros(2) + np.zeros(3),  # raised by third-party code in C
        lambda console: np.reshape(np.zeros(6), (4, 2)),  # by third-party code in Python
        raising(ValueError("by code that is not ours")),
    ],
)
def test_a_defect_is_not_taken_for_a_refusal(defect, capsys):
    with pytest.raises(ValueError, match=r"shape|not ours"):
        run_job("study", defect)
    assert capsys.readouterr().err == ""


def test_failures_and_interrupts_have_a_status_of_their_own(capsys):
    assert run_job("train", raising(ResourceError("asks for 9 GPU"))) == 2
    assert run_job("train", raising(FloatingPointError("loss is nan"))) == 1
    assert run_job("anchors", raising(EndpointError("no answer")), failures=(EndpointError,)) == 1
    assert run_job("train", raising(KeyboardInterrupt())) == 130
    err = capsys.readouterr().err
    assert "bots train failed: loss is nan" in err
    assert "results so far are kept" in err


def test_a_full_disk_is_one_line(capsys):
    def job(console):
        raise OSError(errno.ENOSPC, "No space left on device", "/runs/lab/metrics.jsonl")

    assert run_job("train", job) == 1
    said = capsys.readouterr().err
    assert said == "bots train failed: [Errno 28] No space left on device: '/runs/lab/metrics.jsonl'\n"

    def unnamed(console):
        raise OSError(errno.ECONNREFUSED, "Connection refused")

    with pytest.raises(OSError, match="refused"):
        run_job("train", unnamed)
