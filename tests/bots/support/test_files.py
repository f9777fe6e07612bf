import os

import pytest

from bots.support.files import replace_text, replacing


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    replace_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half of the new") / 0
    assert path.read_text() == "old"
    replace_text(path, "new μ")
    assert path.read_text(encoding="utf-8") == "new μ"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
