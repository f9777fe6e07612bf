"""The registry is the only list of names, and every name in it loads."""

import math
import subprocess
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from bots.evidence import Evidence
from bots.support import registry
from bots.support.checks import finite

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
    from bots.selection import Selector

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


def test_numbers_in_mappings_and_lists_are_finite():
    finite("weak", {"math": 1.0, "code": np.float32(2)})
    finite("levels", {"math": [1, 2.5]})
    for value, named in ((math.inf, "weak is inf"), ({"math": [1, math.nan]}, r"weak\.math\.1 is nan")):
        with pytest.raises(ValueError, match=f"{named}; it must be a finite number"):
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
