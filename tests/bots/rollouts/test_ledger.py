"""The ledger: bounded staleness, and every task at exactly one place."""

import json

import numpy as np
import pytest

from bots.rollouts.ledger import EMPTY, PLACES, Ledger, LedgerError, audit


def bring(ledger, key, version):
    """A task from waiting to ready, sampled by one policy version."""
    ledger.generate(key, version)
    ledger.generated(key, version)
    ledger.graded(key)


def test_on_policy_a_batch_is_the_whole_wave(tmp_path):
    ledger = Ledger(3, 0)
    ledger.select(1, [7, 8, 9])
    assert not ledger.wants_wave
    for key in [(1, 9), (1, 7)]:
        bring(ledger, key, 0)
        assert ledger.due() is None
    bring(ledger, (1, 8), 0)
    assert ledger.due() == [(1, 7), (1, 8), (1, 9)], "in the order of selection, whatever came first"
    ledger.train(ledger.due())
    assert ledger.wants_wave
    assert len(ledger) == 0
    assert ledger.due() is None, "the next wave is still to be drawn"


def test_a_dropped_task_leaves_its_place_empty():
    ledger = Ledger(3, 0)
    ledger.select(1, [7, 8, 9])
    bring(ledger, (1, 7), 0)
    ledger.drop((1, 8), "its grader broke")
    assert ledger.due() is None
    bring(ledger, (1, 9), 0)
    assert ledger.due() == [(1, 7), (1, 9)]
    assert ledger.dropped == ["its grader broke"]


def test_the_first_completed_make_the_batch_until_one_would_grow_too_old():
    ledger = Ledger(2, 1)
    ledger.select(1, [1, 2])
    ledger.select(2, [3, 4])
    assert not ledger.wants_wave
    assert [ledger.may_begin((2, 3), version) for version in (-1, 0)] == [False, True]
    for key in [(1, 1), (1, 2), (2, 3), (2, 4)]:
        ledger.generate(key, 0)
    for key in [(2, 4), (2, 3)]:
        ledger.generated(key, 0)
        ledger.graded(key)
    assert ledger.due() == [(2, 3), (2, 4)], "wave 1 is late; nothing waits for it yet"
    ledger.train(ledger.due())
    ledger.select(3, [5, 6])
    assert [ledger.may_begin((3, 5), version) for version in (0, 1)] == [False, True]
    for key in [(3, 5), (3, 6)]:
        bring(ledger, key, 1)
    assert ledger.due() is None, "step 2 waits for wave 1, which would be 2 versions old at step 3"
    for key in [(1, 1), (1, 2)]:
        ledger.generated(key, 0)
        ledger.graded(key)
    assert ledger.due() == [(1, 1), (1, 2)]


def test_a_wave_does_not_get_back_what_was_dropped_from_it(tmp_path):
    ledger = Ledger(4, 0, tmp_path / "ledger.jsonl")
    ledger.select(1, [1, 2])
    ledger.drop((1, 1), "no verdict")
    assert ledger.dropped_rows == [1]
    with pytest.raises(LedgerError, match="row 1 was selected again in wave 1, which dropped it"):
        ledger.refill([3, 1])
    ledger.refill([3])
    bring(ledger, (1, 2), 0)
    bring(ledger, (1, 3), 0)
    ledger.train(ledger.due())
    assert ledger.dropped_rows == []
    ledger.select(2, [1, 4])
    assert audit(tmp_path / "ledger.jsonl").under_way == {(2, 1), (2, 4)}


def test_the_audit_finds_a_task_that_is_selected_twice_in_a_wave(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(4, 0, path)
    ledger.select(1, [1, 2])
    ledger.drop((1, 1), "no verdict")
    with path.open("a") as file:
        file.write(json.dumps({"event": "selected", "wave": 1, "rows": [1]}) + "\n")
    with pytest.raises(LedgerError, match="wave 1 selects row 1 again"):
        audit(path)


def test_newer_tasks_do_not_take_the_places_that_older_ones_will_need():
    ledger = Ledger(2, 2)
    for wave, rows in enumerate([[1, 2], [3, 4], [5, 6]], start=1):
        ledger.select(wave, rows)
    for key in ledger.at("waiting"):
        ledger.generate(key, 0)
    for key in [(1, 1), (1, 2)]:
        ledger.generated(key, 0)
        ledger.graded(key)
    ledger.train(ledger.due())
    ledger.select(4, [7, 8])
    for key in [(4, 7), (4, 8)]:
        bring(ledger, key, 1)
    assert ledger.due() is None, "four tasks of version 0 are left, and steps 2 and 3 for them"
    for key in [(2, 3), (3, 6)]:
        ledger.generated(key, 0)
        ledger.graded(key)
    assert ledger.due() == [(2, 3), (3, 6)]


@pytest.mark.parametrize("max_staleness", [0, 1, 2, 5])
def test_whatever_happens_nothing_is_too_old_and_nothing_is_lost(tmp_path, max_staleness):
    """A random life: completions in any order, losses, drops, rewinds; the staleness bound always holds."""
    rng = np.random.default_rng(max_staleness)
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(6, max_staleness, path)
    ledger.restore(EMPTY)
    oldest, staleness, saved = {}, [], ledger.state()
    while ledger.step < 400:
        version = ledger.step
        while ledger.wants_wave:
            free = np.setdiff1d(np.arange(200), ledger.rows)
            ledger.select(ledger.wave + 1, rng.choice(free, 6, replace=False))
        due = ledger.due()
        if due is not None:
            assert len(due) <= 6, "what must be trained now never exceeds a batch"
            if not due:  # a whole batch's worth was dropped: the job ends there, this test goes back
                ledger.restore(saved)
                continue
            staleness += [version - oldest[key] for key in due]
            ledger.train(due)
            if ledger.step % 7 == 0:
                saved = ledger.state()
            continue
        waiting = [key for key in ledger.at("waiting") if ledger.may_begin(key, version)]
        generating, grading = ledger.at("generating"), ledger.at("grading")
        assert ledger.counts() == {place: len(ledger.at(place)) for place in PLACES}
        dice = rng.random()
        if waiting and dice < 0.4:
            ledger.generate(waiting[0], version)
            oldest[waiting[0]] = version
        elif generating and dice < 0.7:
            key = generating[rng.integers(len(generating))]
            ledger.generated(key, oldest[key])
        elif grading and dice < 0.95:
            ledger.graded(grading[0])
        elif generating and dice < 0.98:
            ledger.again(generating[0])
        elif grading and dice < 0.99:
            ledger.drop(grading[0], "broken")
        elif dice > 0.998:
            ledger.restore(saved)
    assert max(staleness) == max_staleness
    found = audit(path)
    assert found.rewinds > 1
    assert found.dropped
    assert (
        found.under_way == {(wave, row) for wave, row in ledger.state()["under_way"]} - found.dropped.keys()
    )
    assert found.selected == 6 * ledger.wave
    assert sorted(set(found.trained.values())) == list(range(1, 401))


@pytest.mark.parametrize(
    "second",
    [
        {"event": "trained", "step": 2, "tasks": [[1, 5]]},
        {"event": "dropped", "wave": 1, "row": 5, "step": 2, "reason": "x"},
        {"event": "trained", "step": 2, "tasks": [[1, 6]]},
        {"event": "rewound", "step": 1, "wave": 1, "under_way": [[1, 5]]},
    ],
)
def test_an_audit_finds_what_is_counted_twice(tmp_path, second):
    events = [
        {"event": "selected", "wave": 1, "rows": [5]},
        {"event": "trained", "step": 1, "tasks": [[1, 5]]},
        second,
    ]
    path = tmp_path / "ledger.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    with pytest.raises(LedgerError, match=r"row [56] of wave 1"):
        audit(path)


def test_impossible_moves_are_refused():
    ledger = Ledger(2, 1)
    ledger.select(1, [1, 2])
    with pytest.raises(LedgerError, match="wave 3 was selected after wave 1"):
        ledger.select(3, [5, 6])
    with pytest.raises(LedgerError, match="row 2 was selected in wave 2 while it is in flight"):
        ledger.select(2, [2, 3])
    with pytest.raises(LedgerError, match="should be grading, but is waiting"):
        ledger.graded((1, 1))
    with pytest.raises(LedgerError, match="should be ready, but is waiting"):
        ledger.train([(1, 1)])


def test_a_group_sampled_in_rounds_keeps_its_age_and_what_it_has(tmp_path):
    ledger = Ledger(2, 1, tmp_path / "ledger.jsonl")
    ledger.select(1, [1, 2], [4, 6])
    assert [ledger.rollouts((1, row)) for row in (1, 2)] == [4, 6]
    ledger.select(2, [3, 4], [5, 5])
    bring(ledger, (1, 1), 0)
    bring(ledger, (2, 3), 0)
    ledger.generate((1, 2), 0)
    ledger.generated((1, 2), 0)
    ledger.another_round((1, 2))
    assert ledger.at("waiting") == [(1, 2), (2, 4)]
    ledger.train(ledger.due())
    ledger.select(3, [5, 6], [4, 4])
    for key in [(3, 5), (3, 6)]:
        bring(ledger, key, 1)
    assert ledger.due() is None, (
        "the group of version 0 would be too old a step later, although it only waits"
    )
    ledger.generate((1, 2), 1)
    ledger.again((1, 2))
    assert ledger.due() is None, "also after an engine was lost in its second round"
    ledger.generate((1, 2), 1)
    ledger.generated((1, 2), 1)
    ledger.graded((1, 2))
    due = ledger.due()
    assert due == [(1, 2), (3, 5)], "it goes first, with the version of its first round"
    ledger.train(due)
    audit(tmp_path / "ledger.jsonl")


def test_sizes_of_groups_in_flight_are_saved():
    ledger = Ledger(3, 0)
    ledger.select(1, [7, 8, 9], [2, 3, 7])
    ledger.drop((1, 8), "its grader broke")
    state = ledger.state()
    assert state["rollouts"] == [2, 3, 7]
    restored = Ledger(3, 0)
    restored.restore(json.loads(json.dumps(state)) | {"under_way": state["under_way"]})
    assert [restored.rollouts((1, row)) for row in (7, 8, 9)] == [2, 3, 7]
    even = Ledger(3, 0)
    even.select(1, [7, 8, 9])
    assert "rollouts" not in even.state()
    assert even.rollouts((1, 7)) is None
