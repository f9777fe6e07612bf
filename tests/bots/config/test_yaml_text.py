"""YAML as a configuration's file, its `{…}` and the command line read it: one meaning, and no key twice."""

import pytest
import yaml

from bots.config.tree import ConfigError, read_tree, read_value
from bots.config.yaml_text import DuplicateKeyError, read_yaml

SCALARS = [
    "1e-6", "1e-1", "-2E5", ".5e3", "1.5e3", "+3e+2", "0.1", "12", "0x1F", "1_000", ".inf", "inf", "nan", "1e", "e5",
    "true", "yes", "off", "null", "~", "none", "None", "'1e-6'", '"true"', "2024-11-23", "1:30", "010", "abc", "",
]  # fmt: skip


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_scalar_means_the_same_in_a_file_in_a_mapping_and_on_the_command_line(tmp_path, scalar):
    file = tmp_path / "c.yaml"
    file.write_text(f"a:\n  plain: {scalar}\n  flow: {{x: {scalar}}}\n  list: [{scalar or 'null'}]\n")
    tree = read_tree(file, [f"a.given={scalar}", f"a.given_flow={{x: {scalar}}}"])["a"]
    meant = repr(tree["plain"])
    assert repr(tree["given"]) == meant
    assert repr(tree["flow"]["x"]) == meant
    assert repr(tree["given_flow"]["x"]) == meant
    assert repr(tree["list"][0]) == meant


def test_numbers_without_a_point_are_numbers_and_quoted_ones_text():
    assert read_yaml("{a: 1e-1, b: '1e-1', c: -1E3}") == {"a": 0.1, "b": "1e-1", "c": -1000.0}
    assert read_value("a.b={gamma: 1e-1}") == ("a.b", {"gamma": 0.1})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", r"^a stands twice, on line 1 and line 3; remove"),
        ("run:\n  x: 1\nmodel: {}\nrun:\n  y: 2\n", r"^run stands twice, on line 1 and line 4"),
        ("run:\n  x: 1\n  y: 1\n  x: 2\n", r"^run\.x stands twice, on line 2 and line 4"),
        ("a: {b: 1, c: 2, b: 3}\n", r"^a\.b stands twice, on line 1;"),
        ("p: [{a: 1},\n {k: 1,\n k: 2}]\n", r"^p\.1\.k stands twice, on line 2 and line 3"),
        ("'a': 1\na: 2\n", "^a stands twice"),
        ("x: &x {a: 1, a: 2}\ny: *x\n", r"^x\.a stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path, text, said):
    with pytest.raises(DuplicateKeyError, match=said):
        read_yaml(text)
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml: .* stands twice"):
        read_tree(file, [])


def test_a_key_of_the_command_line_that_stands_twice_is_refused():
    with pytest.raises(ConfigError, match=r"override 'a.b=.*': c stands twice"):
        read_value("a.b={c: 1, c: 2}")


def test_merged_keys_may_be_overridden():
    text = "w: &w {a: 0, b: 0}\nouter: {x: &x {<<: *w, a: 2}}\ny: {<<: *x, a: 3}\n"
    assert read_yaml(text)["y"] == {"a": 3, "b": 0}
    assert read_yaml(text)["outer"]["x"] == {"a": 2, "b": 0}


def test_what_is_not_yaml_is_still_refused():
    with pytest.raises(yaml.YAMLError):
        read_yaml("a: [1")
    with pytest.raises(yaml.YAMLError):
        read_yaml("!!python/object/apply:os.system [true]")


def test_numbers_are_those_of_yaml_1_2():
    given = "[010, 0o17, 0x1F, 0b11, 1_000, -7, 10:30, 1:30.5, 1., .5, 1_0.5]"
    assert read_yaml(given) == [10, 15, 31, 3, 1000, -7, "10:30", "1:30.5", 1.0, 0.5, 10.5]


@pytest.mark.parametrize(
    "text", ["2024-13-45", "!!int x", "!!timestamp x", "1" * 5000, "[" * 1000, "{[a]: 1}", "!!binary é"]
)
def test_what_has_no_value_is_refused_as_yaml(text):
    with pytest.raises(yaml.YAMLError):
        read_yaml(text)
    with pytest.raises(ConfigError, match="its value is not YAML"):
        read_value(f"run.name={text}")
