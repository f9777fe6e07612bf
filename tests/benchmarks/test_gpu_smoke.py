"""What the smoke page says of parts that fail; the parts themselves need minutes."""

import json

import pytest

from benchmarks.gpu_smoke import line_of, read_part


@pytest.mark.parametrize(
    ("code", "output", "errors", "reason"),
    [
        (
            1,
            "",
            "Traceback\n  …\nValueError: no such model",
            "exit status 1: Traceback /   … / ValueError: no such model",
        ),
        (-9, "", "", "ended by signal 9"),
        (0, "", "", "no result"),
        (0, "loading weights", "", "no result: 'loading weights'"),
    ],
)
def test_a_part_that_fails_says_why(code, output, errors, reason):
    assert reason in read_part(code, output, errors)["FAILED"]


def test_a_figure_that_is_not_finite_fails_its_part_and_hides_no_other():
    figures = {"tokens/s": "nan", "start": "7 s", "ratio": float("inf"), "model": "Nanbeige, inference"}
    found = read_part(0, "warning\n" + json.dumps(figures), "")
    assert found["start"] == "7 s"
    assert found["FAILED"] == "not finite: tokens/s, ratio"
    assert "FAILED" not in read_part(0, json.dumps({"tokens/s": "3,000"}), "")


def test_a_run_without_a_metric_names_it():
    record = {
        "step": 3,
        "seconds/sync": 0.5,
        "weights_load_seconds": 0.25,
        "mismatch_kl": 1e-9,
        "weights": "c0ffee",
    }
    assert line_of(record) == "3 steps; sync 0.500 s, load 0.250 s, mismatch KL 1.0e-09, checksum c0ffee"
    del record["mismatch_kl"]
    assert line_of(record) == "FAILED: step 3 has no mismatch_kl"
