"""The terminal view of a run, on folders that the real journal and posterior write."""

import io
import json
import threading

import numpy as np
import pytest
from rich.console import Console

from pipelines.report.terminal import curve, histogram, seconds, spark
from pipelines.watch import main, watch
from tests.pipelines.small_run import make_run


def shown(folder, width=100, **options):
    out = io.StringIO()
    watch(folder, Console(file=out, width=width), **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("watched"), name="finished")


def test_a_finished_run_is_shown_once(finished):
    text = shown(finished)
    for said in (
        "step 12/12",
        "finished",
        "held-out score  0.520  best 0.520 at step 12, first 0.400",
        "effective task ratio",
        "engines busy",
        "capability",
        "generate 28%",
        "outside 29%",
    ):
        assert said in text
    assert max(len(line) for line in text.splitlines()) <= 100
    narrow = shown(finished, width=70).splitlines()
    assert not [line for line in narrow if line.rstrip(" │").endswith("■")], "a name stays beside its color"
    assert max(len(line) for line in shown(finished, width=50).splitlines()) <= 50


@pytest.mark.parametrize("terminal", [True, False])
def test_watching_ends_when_the_run_does(tmp_path, terminal):
    folder = make_run(tmp_path, name="going", steps=5, planned=6, ended=False)
    text = shown(folder, once=True)
    assert "about 0:01 left" in text
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=terminal)
    watching = threading.Thread(target=watch, args=(folder, console), kwargs={"every": 0.05}, daemon=True)
    watching.start()
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(last | {"step": 6, "score": 0.9}) + "\n")
    watching.join(30)
    assert not watching.is_alive()
    assert "finished" in out.getvalue()
    assert "best 0.900 at step 6" in out.getvalue()


def test_a_run_without_steps_or_scores_is_said_to_be(tmp_path):
    folder = make_run(tmp_path, name="bare", steps=3, evaluated=False)
    assert "not evaluated yet" in shown(folder)
    (folder / "metrics.jsonl").unlink()
    (folder / "summary.json").unlink()
    assert "engines and learner are starting" in shown(folder, once=True)


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "there is no run at" in capsys.readouterr().err


@pytest.mark.parametrize("width", [20, 36, 40])
def test_a_narrow_terminal_has_a_view_too(finished, width):
    assert "12/12" in shown(finished, width=width)


def test_characters_of_a_plot():
    assert spark([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert spark([1, 3, 5, 7], 2) == "▁█", "each block is the mean of a stretch"
    assert spark([2.0, 2.0], 5) == "▁▁"
    assert histogram([0, 1, 8], 2) == "  ▁▁██"
    rising = curve(np.array([0.0, 10.0]), np.array([0.0, 1.0]), width=4, height=2)
    assert [len(line) for line in rising] == [4, 4]
    assert rising[0][0] == "⠀"
    assert rising[1][0] != "⠀", "the curve begins below"
    assert seconds(59) == "0:59"
    assert seconds(3661) == "1:01:01"
