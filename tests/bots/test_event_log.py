from bots.event_log import EventLog


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


def test_a_cleared_log_is_empty(tmp_path):
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"step": 1})
    log.clear()
    assert list(log.replay()) == []
