"""The live display follows the journal, backwards as well as forwards."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from actors.journal import Journal
from pipelines.training import progress
from pipelines.training.progress import Progress


@pytest.fixture
def journal(tmp_path):
    """The journal's own class in this process."""
    return Journal.__ray_metadata__.modified_class(str(tmp_path))


@pytest.fixture
def shown(journal, monkeypatch):
    """A display of it; `shown.console.file` has what was printed."""
    monkeypatch.setattr(progress.ray, "get", lambda told: told)
    handle = SimpleNamespace(news=SimpleNamespace(remote=lambda *known: journal.news(*known)))
    return Progress(handle, 10, "mine", Console(file=io.StringIO(), width=200))


def record(step):
    figures = {"etr": 0.5, "reward": 0.5, "tokens": 100, "staleness": 0, "seconds": 2.0} if step else {}
    return {"step": step, "score": step / 10, **figures}


def test_a_return_to_a_checkpoint_is_followed(journal, shown):
    for step in range(9):
        journal.write(record(step))
    shown.poll()
    assert shown.step == 8
    journal.rewind(5)
    shown.poll()
    assert shown.step == 5
    journal.write(record(6) | {"score": 0.66})
    shown.poll()
    assert [r["step"] for r in shown.records] == list(range(7))
    said = shown.console.file.getvalue()
    assert said.count("step 6/10") == 2, "made again, shown again"
    assert said.count("step 5/10") == 1
    assert "score 0.660" in said


def test_a_journal_that_came_back_is_read_anew(tmp_path, journal, shown):
    for step in range(3):
        journal.write(record(step))
    shown.poll()
    again = Journal.__ray_metadata__.modified_class(str(tmp_path))
    again.write(record(3))
    shown.journal.news.remote = lambda *known: again.news(*known)
    shown.poll()
    assert [r["step"] for r in shown.records] == [0, 1, 2, 3]
    assert shown.console.file.getvalue().count("step 2/10") == 1


def test_the_time_that_is_left_is_of_steps_that_took_any(journal, shown):
    for step in range(3):
        journal.write(record(step))
    shown.poll()
    assert "left 0:16" in shown.line(shown.records[-1]), "8 steps of 2 s; step 0 has no seconds"


def test_completions_that_do_not_end_are_warned_of_once(journal, shown):
    for step in range(3):
        journal.write(record(step) | ({"finished_share": 0.2} if step else {}))
    shown.poll()
    assert "rollout.max_tokens" not in shown.console.file.getvalue(), "two steps are too few"
    for step in range(3, 6):
        journal.write(record(step) | {"finished_share": 0.2})
        shown.poll()
    assert shown.console.file.getvalue().count("only 20% of the completions of the first 3 steps") == 1


def test_completions_that_end_are_not_warned_of(journal, shown):
    for step in range(1, 6):
        journal.write(record(step) | {"finished_share": 0.6 if step < 4 else 0.0})
    shown.poll()
    assert "rollout.max_tokens" not in shown.console.file.getvalue()
