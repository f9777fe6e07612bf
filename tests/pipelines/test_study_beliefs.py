"""The study of beliefs can start: each of its runs has a valid configuration."""

from __future__ import annotations

from pathlib import Path

from pipelines.studies.config import load_study

CONFIG = Path(__file__).parents[2] / "configs" / "study_beliefs.yaml"


def test_every_run_is_valid():
    study = load_study(CONFIG, [])
    runs = {
        (pool, arm): study.run((pool, arm, 0))
        for part in study.parts
        for pool in part.pools
        for arm in part.arms
    }
    assert len(runs) == 22
    chosen = runs["mixed", "state space for gain without anchors"].selection
    assert chosen.belief == "state_space"
    assert chosen.belief_options == {"gain": True}
    assert runs["mixed", "beta"].selection.belief == "beta"
