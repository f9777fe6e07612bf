"""The registry is the only list of names, and every name in it loads."""

import subprocess
from pathlib import Path

import pytest

from bots.support import registry

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


def test_no_other_module_names_a_built_in_class():
    """A plug-in is added by its file and a line of the registry."""
    for kind in ("selector", "evidence", "adaptor"):
        for target in set(registry.BUILT_IN[kind].values()):
            found = subprocess.run(
                ["grep", "-rlF", target, "bots", "actors", "pipelines", "--include=*.py"],
                cwd=ROOT, capture_output=True, text=True, check=True,
            ).stdout.split()  # fmt: skip
            assert found == ["bots/support/registry.py"]
