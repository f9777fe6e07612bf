"""Belief `auto` in a job: it is chosen when the pool is known, and written down by its name."""

import pytest

from actors.posterior import write_pool
from bots.config.tree import ConfigError, dump_config
from pipelines.shared.job_folder import CONFIG, POOL
from pipelines.shared.preflight import load_inputs
from pipelines.sweeps.folders import is_of
from pipelines.training.run_folder import check_folder


def test_where_nobody_measured_the_pool_the_belief_follows_the_policy(small_job):
    """And a sweep knows the trial's folder again, whose configuration has the belief by its name."""
    unmeasured = ("pool.sources.0.anchors=null", "selection.belief=auto")
    config = small_job(*unmeasured)
    inputs = load_inputs(config)
    assert (inputs.config.selection.belief, inputs.config.selection.lam) == ("state_space", 0)
    assert "belief state_space learns during the run what their domains and levels say" in inputs.warnings[0]
    assert load_inputs(small_job("selection.belief=auto")).config.selection.belief == "beta"

    folder = config.run.path
    folder.mkdir()
    write_pool(inputs.train.pool, folder / POOL)
    (folder / CONFIG).write_text(dump_config(inputs.config))
    assert is_of(config)
    assert not is_of(small_job(*unmeasured, "selection.p_star=0.4"))
    assert not is_of(small_job(*unmeasured, "selection.lam=0.1"))
    check_folder(inputs.config, resume=True, overwrite=False)
    with pytest.raises(ConfigError, match=r"started with selection.belief = 'state_space', now it is 'beta'"):
        check_folder(
            load_inputs(small_job(*unmeasured, "selection.lam=0.1")).config, resume=True, overwrite=False
        )
