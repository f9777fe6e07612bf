"""The registry is the only list of names, and every name in it loads."""

import math
import subprocess
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from bots.evidence import Evidence
from bots.selection import Selector
from bots.support import registry
from bots.support.checks import finite, of_type

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("kind", [kind for kind in registry.BUILT_IN if kind != "weight_sync"])
def test_every_name_loads(kind):
    for name in registry.names(kind):
        assert callable(registry.load(kind, name))


def test_weight_syncs_are_where_the_registry_says():
    """Not loaded: they need ray, which this library never imports."""
    for target in registry.BUILT_IN["weight_sync"].values():
        module, _, attribute = target.partition(":")
        assert f"class {attribute}" in (ROOT / (module.replace(".", "/") + ".py")).read_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "nothing",
            ["unknown selector 'nothing'", "adarft, bots, cures, dots, dots_similarity, dps, gps, greedy"],
        ),
        ("no.such.module:Class", ["'no.such.module:Class'", "cannot be loaded"]),
        ("bots.pool:TaskPool", ["is not a subclass of"]),
    ],
)
def test_a_bad_name_is_refused(name, words):
    with pytest.raises(ValueError, match="selector") as caught:
        registry.load_class("selector", name, Selector)
    for word in words:
        assert word in str(caught.value)


NUMBERS = ("float", "int", "int | None", "Sequence[float]", "tuple[float, float]")


def options():
    """Every option of the built-in plug-ins with its annotation, and how many arguments come before the options."""
    for kind in ("selector", "evidence", "adaptor", "allocation"):
        for name in registry.names(kind):
            parameters = signature(registry.load(kind, name)).parameters.values()
            given = sum(each.default is each.empty for each in parameters)
            for each in parameters:
                if each.default is not each.empty:
                    yield kind, name, each.name, each.annotation, given


@pytest.mark.parametrize(("kind", "name", "option", "annotation", "given"), options())
def test_a_value_of_another_type_is_refused_for_every_option(kind, name, option, annotation, given):
    target, arguments = registry.load(kind, name), (None,) * given
    for value in [math.nan, math.inf, True, "x"] if annotation in NUMBERS else [math.nan]:
        with pytest.raises(ValueError, match=f"{kind} '{name}': {option} is {value!r}; it must be "):
            registry.check_options(kind, name, target, arguments, {option: value})
    if annotation.endswith("None"):
        registry.check_options(kind, name, target, arguments, {option: None})


def test_an_unknown_option_is_answered_with_those_that_there_are():
    with pytest.raises(
        ValueError, match="keyword argument 'gama'; its options: gamma, per_domain, tolerance"
    ):
        registry.make("evidence", "interpolation", Evidence, (None,), {"gama": 1})


class Unbounded(Selector):
    """A user's selector, whose annotations are its own affair."""

    def __init__(self, pool: None, limit: float = math.inf, rate: float = None, names: list[str] = ()):  # noqa: RUF013
        self.limit, self.rate, self.names = limit, rate, list(names)


class Unreadable(Selector):
    """A user's selector of which Python can't say what it takes."""

    __signature__ = "oops"


def test_a_user_s_plug_in_checks_its_options_itself(monkeypatch):
    monkeypatch.setattr(Unbounded, "__abstractmethods__", frozenset())
    own = f"{__name__}:Unbounded"
    made = registry.make("selector", own, Selector, (None,), {"limit": math.inf, "names": iter(["a"])})
    assert (made.limit, made.rate, made.names) == (math.inf, None, ["a"])
    with pytest.raises(ValueError, match="'limt'; its options: limit, rate, names"):
        registry.make("selector", own, Selector, (None,), {"limt": 1})
    with pytest.raises(
        ValueError, match=r"Unreadable': what it takes can't be read .*; wrap it in a function"
    ):
        registry.make("selector", f"{__name__}:Unreadable", Selector, (None,), {})


@pytest.mark.parametrize("value", ["x", 1, {1.0, 2.0}, iter([0.1]), np.array(0.1), [0.1, math.nan], 10**400])
def test_numbers_are_given_as_a_sequence(value):
    """A generator would be used up by looking at it."""
    with pytest.raises(ValueError, match=r"lams is .*; it must be finite numbers"):
        of_type("lams", value, "Sequence[float]")
    of_type("lams", np.array([0.1, 0.2]), "Sequence[float]")
    of_type("lams", (0, np.float32(0.5)), "Sequence[float]")


def test_numbers_in_mappings_and_lists_are_finite():
    finite("weak", {"math": 1.0, "code": np.float32(2)})
    finite("levels", {"math": [1, 2.5], "code": np.array([1.0])})
    for value, named in (
        (math.inf, "weak is inf"),
        (10**400, "weak is 1000"),
        (np.array(1.0), "weak is array"),
        ({"math": [1, math.nan]}, r"weak\.math\.1 is nan"),
    ):
        with pytest.raises(ValueError, match=f"{named}.*; it must be a finite number"):
            finite("weak", value)


def test_no_other_module_names_a_built_in_class():
    """A plug-in is added by its file and a line of the registry."""
    for kind in ("selector", "evidence", "adaptor"):
        for target in set(registry.BUILT_IN[kind].values()):
            found = subprocess.run(
                ["grep", "-rlF", target, "bots", "actors", "pipelines", "--include=*.py"],
                cwd=ROOT, capture_output=True, text=True, check=True,
            ).stdout.split()  # fmt: skip
            assert found == ["bots/support/registry.py"]
