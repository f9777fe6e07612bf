"""Natural order of names."""

from bots.support.natural_order import natural


def test_numbers_in_names_count_as_numbers():
    levels = ["level 10", "level 2", "level 1", "level", "logic", "10", "9", "level 2b", "level 2a"]
    assert sorted(levels, key=natural) == [
        "9",
        "10",
        "level",
        "level 1",
        "level 2",
        "level 2a",
        "level 2b",
        "level 10",
        "logic",
    ]


def test_equal_values_have_an_order_too():
    assert sorted(["b01", "b1", "b001"], key=natural) == ["b001", "b01", "b1"]
    assert natural("Ⅷ²") != natural("Ⅷ"), "digits of other scripts are text"
