import pytest

from bots.support.event_log import EventLog


def test_events_come_back_in_order(tmp_path):
    log = EventLog(tmp_path / "log.jsonl")
    assert list(log.replay()) == []
    for step in range(3):
        log.append({"step": step})
    assert [event["step"] for event in EventLog(tmp_path / "log.jsonl").replay()] == [0, 1, 2]


def test_half_a_line_of_a_killed_writer_is_left_out(tmp_path):
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"step": 1})
    with log.path.open("a") as file:
        file.write('{"step": 2, "ro')
    assert [event["step"] for event in log.replay()] == [1]


def test_appending_after_half_a_line_loses_nothing_new(tmp_path):
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"step": 1})
    with log.path.open("a") as file:
        file.write('{"step": 2, "ro')
    reopened = EventLog(log.path)
    reopened.append({"step": 2})
    assert [event["step"] for event in reopened.replay()] == [1, 2]


def test_reading_leaves_the_file_of_a_live_writer_alone(tmp_path):
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"step": 1})
    with log.path.open("a") as file:
        file.write('{"step": 2, "ro')
        file.flush()
        assert [event["step"] for event in EventLog(log.path).replay()] == [1]
        file.write('ws": []}\n')
    assert [event["step"] for event in EventLog(log.path).replay()] == [1, 2]


def test_what_a_full_disk_took_half_of_does_not_spoil_the_next_event(tmp_path, monkeypatch):
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"step": 1})
    with monkeypatch.context() as full:
        full.setattr("bots.support.event_log.json.dumps", lambda event: '{"step": 2, \udcff')
        with pytest.raises(UnicodeEncodeError):
            log.append({"step": 2})
    with log.path.open("a") as file:
        file.write('{"step": 2, ')
    log.append({"step": 3})
    assert [event["step"] for event in log.replay()] == [1, 3]


def test_a_cleared_log_is_empty(tmp_path):
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"step": 1})
    log.clear()
    assert list(log.replay()) == []
