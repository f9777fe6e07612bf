"""A run keeps the belief that it started with."""

from __future__ import annotations

import pytest
import yaml

from bots.config.train import load_config
from bots.config.tree import ConfigError
from pipelines.training.run_folder import as_recorded, check_folder


def test_a_resume_under_another_belief_is_refused(tmp_path):
    folder = tmp_path / "lab"
    folder.mkdir()
    began = load_config("configs/lab.yaml", [f"run.folder={tmp_path}"])
    (folder / "config.yaml").write_text(yaml.safe_dump(began.model_dump(mode="json")))
    other = load_config("configs/lab.yaml", [f"run.folder={tmp_path}", "selection.belief=state_space"])
    with pytest.raises(ConfigError, match=r"selection\..*a\s+resumed run must keep it"):
        check_folder(other, resume=True, overwrite=False)


def test_a_run_from_before_there_were_beliefs_goes_on_with_the_beta_update(tmp_path):
    folder = tmp_path / "lab"
    folder.mkdir()
    settings = [f"run.folder={tmp_path}", "pool.sources.0.anchors=null"]
    began = load_config("configs/lab.yaml", settings).model_dump(mode="json")
    del began["selection"]["belief"], began["selection"]["belief_options"]
    (folder / "config.yaml").write_text(yaml.safe_dump(began))
    check_folder(
        load_config("configs/lab.yaml", [*settings, "selection.belief=beta"]), resume=True, overwrite=False
    )
    unchanged = as_recorded(load_config("configs/lab.yaml", settings))
    assert unchanged.selection.belief == "beta", "although the default has another one for a pool with levels"
    check_folder(unchanged, resume=True, overwrite=False)
    other = load_config("configs/lab.yaml", [*settings, "selection.belief=state_space"])
    with pytest.raises(ConfigError, match=r"started with selection.belief = 'beta', now it is 'state_space'"):
        check_folder(other, resume=True, overwrite=False)
