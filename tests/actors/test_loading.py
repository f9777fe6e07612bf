"""Loading: no garbage collection inside the context, and some packages are hidden."""

import gc
import subprocess
import sys

import pytest

from actors.loading import loading


@pytest.fixture(autouse=True)
def nothing_is_frozen_before_or_afterwards():
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_again_afterwards_if_it_was_before(collects):
    try:
        if not collects:
            gc.disable()
        sys.modules.pop("this", None)
        with loading():
            assert not gc.isenabled()
            import this  # noqa: F401
        assert gc.isenabled() == collects
        assert gc.get_freeze_count() > 0, "what was loaded is left out of later collections"
    finally:
        gc.enable()


def test_a_package_left_out_is_there_again_afterwards_and_one_that_is_loaded_stays():
    sys.modules.pop("this", None)
    with loading(without=["this", "json"]):
        import json

        with pytest.raises(ImportError):
            import this  # noqa: F401
    assert "this" not in sys.modules
    assert sys.modules["json"] is json


def test_what_was_made_since_is_not_kept_where_nothing_is_loaded():
    with loading():
        import json  # noqa: F401
    assert gc.get_freeze_count() == 0


def test_a_failed_import_leaves_everything_as_it_was():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), loading(without=["this"]):
        import no_such_package  # noqa: F401
    assert gc.isenabled()
    assert "this" not in sys.modules


@pytest.mark.slow
def test_a_learner_does_without_mlflow_which_the_tracker_still_finds():
    code = """
import sys
from actors.loading import FOR_SOUND, loading
with loading(without=FOR_SOUND):
    import actors.learner
    import triton._C.libtriton
    import vllm.multimodal.audio
assert "mlflow" not in sys.modules
assert "scipy.signal" not in sys.modules
import mlflow
assert mlflow.start_run
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert "leaked" not in ended.stderr, "all is freed at the end"
