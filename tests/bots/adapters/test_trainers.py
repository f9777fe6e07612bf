"""verl's, SkyRL's, OpenRLHF's and verifiers' own classes, driven in a process of their own (peers_run.py).

Their dependencies would clash with the CPU set's: `make peers` installs them into a folder of their own. prime-rl and
slime are not on PyPI: sources_run.py drives their classes where BOTS_PEER_SOURCES names a folder with checkouts.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(sys.prefix) / "trainers"
ROOT = Path(__file__).parents[3]


def drive(module, *folders):
    if not FOLDER.is_dir():
        pytest.skip("the trainers are not installed; `make peers` installs them")
    script = [sys.executable, "-m", f"tests.bots.adapters.{module}", FOLDER, *folders]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    return drive("peers_run", tmp_path_factory.mktemp("peers"))


@pytest.fixture(scope="module")
def from_checkouts(tmp_path_factory):
    if "BOTS_PEER_SOURCES" not in os.environ:
        pytest.skip("BOTS_PEER_SOURCES names no folder with checkouts of prime-rl and slime")
    return drive("sources_run", os.environ["BOTS_PEER_SOURCES"], tmp_path_factory.mktemp("sources"))


@pytest.fixture
def found(driven, request):
    result = driven[request.param]
    assert "error" not in result, result["error"]
    return result


@pytest.mark.slow
@pytest.mark.parametrize("found", ["verl", "skyrl", "verifiers"], indirect=True)
def test_what_was_trained_on_is_what_bots_learned_from_and_a_resumed_trainer_goes_on_alike(found):
    assert len(found["trained"]) in (9, 10)  # two batches; of verifiers' one task was not graded
    assert found["seen"] == found["trained"]
    assert found["resumed_alike"]


@pytest.mark.slow
@pytest.mark.parametrize("found", ["verl", "skyrl"], indirect=True)
def test_the_trainers_log_has_the_figures_of_the_whole_batch(found):
    assert found["metrics"]["bots/batch/tasks"] == 5
    assert found["metrics"]["bots/in_flight"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("found", ["verl"], indirect=True)
def test_verl_makes_the_trainer_that_the_external_module_registers_and_its_advantages_follow(found):
    assert "VERL_USE_EXTERNAL_MODULES=bots.adapters.verl_sync " in (ROOT / "docs/adapters.md").read_text()
    assert found["name"] == "BOTSTrainerSync"
    assert found["advantages"] == ["advantages", "returns"]


@pytest.mark.slow
@pytest.mark.parametrize("found", ["openrlhf"], indirect=True)
def test_openrlhf_counts_the_groups_that_its_filter_drops_too(found):
    assert len(found["trained"]) == 10
    assert set(found["trained"]) < set(found["seen"])
    assert all(row % 3 == 0 for row in set(found["seen"]) - set(found["trained"]))
    # Each line that the page's patch touches.
    assert found["patch_fits"] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prime-rl", "slime"])
def test_a_checkout_s_own_classes_train_on_what_bots_learned_from(from_checkouts, name):
    found = from_checkouts[name]
    assert "error" not in found, found["error"]
    assert found["seen"] == found["trained"]
    assert len(found["trained"]) == 10
    if name == "prime-rl":
        assert found["resumed_alike"]
        assert found["lacks"] == []
        assert found["metrics"]["sampler/step"] == 1
    else:
        assert not set(found["aborted"]) & set(found["seen"])
        assert found["groups_given_up"] == len(found["aborted"]) == 2
        assert found["same_posterior"]
