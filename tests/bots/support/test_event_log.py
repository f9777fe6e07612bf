import errno
from pathlib import Path

import pytest

from bots.support.event_log import EventLog, EventLogError


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


TAILS = [
    b'{"step": 2, "ro',
    b"\xff\xfe\x00",
    b"\xff\xfe\n",
    b"\x00" * 4096,
    b"\x00\n\x00\n",
    b"[2]\n",
    b'"a"\n{"st',
]


@pytest.mark.parametrize("tail", TAILS)
def test_a_damaged_tail_blocks_neither_reading_nor_writing(tmp_path, tail):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n' + tail)
    assert [event["step"] for event in EventLog(path).replay()] == [1]
    EventLog(path).append({"step": 2})
    assert [event["step"] for event in EventLog(path).replay()] == [1, 2]
    path.write_bytes(b'{"step": 1}\n' + tail)
    EventLog(path).mend()
    assert path.read_bytes() == b'{"step": 1}\n'


def test_a_damaged_line_in_the_middle_is_named_and_can_be_mended(tmp_path):
    path = tmp_path / "log.jsonl"
    damaged = b'{"step": 1}\n{"step": 2, "x{"step": 3}\n{"step": 4}\n'
    path.write_bytes(damaged)
    with pytest.raises(EventLogError, match=r"line 2 of .*log\.jsonl is damaged"):
        list(EventLog(path).replay())
    assert EventLog(path).mend() == [2]
    assert [event["step"] for event in EventLog(path).replay()] == [1, 4]
    assert (tmp_path / "log.jsonl.damaged").read_bytes() == damaged


def test_a_write_that_a_full_disk_cut_short_leaves_no_half_line(tmp_path, monkeypatch):
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"step": 1})
    real = Path.open

    def full(path, mode="r", **options):
        file = real(path, mode, **options)
        if mode == "ab":
            file.write(b'{"step": 2, ')
            file.flush()
            monkeypatch.setattr(Path, "open", real)
            file.close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return file

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*log\.jsonl'"):
        log.append({"step": 2})
    assert log.path.read_bytes() == b'{"step": 1}\n'
    log.append({"step": 2})
    assert [event["step"] for event in log.replay()] == [1, 2]
