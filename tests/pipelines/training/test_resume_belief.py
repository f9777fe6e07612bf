"""A run keeps the belief that it started with."""

from __future__ import annotations

import pytest
import yaml

from bots.config.train import load_config
from bots.config.tree import ConfigError
from pipelines.training.run_folder import check_folder


def test_a_resume_under_another_belief_is_refused(tmp_path):
    folder = tmp_path / "lab"
    folder.mkdir()
    began = load_config("configs/lab.yaml", [f"run.folder={tmp_path}"])
    (folder / "config.yaml").write_text(yaml.safe_dump(began.model_dump(mode="json")))
    other = load_config("configs/lab.yaml", [f"run.folder={tmp_path}", "selection.belief=state_space"])
    with pytest.raises(ConfigError, match=r"selection\..*a\s+resumed run must keep it"):
        check_folder(other, resume=True, overwrite=False)
