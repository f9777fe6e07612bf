"""Belief and prior `auto` in a job: chosen when the pool is known, and written down as what they are."""

import pyarrow as pa
import pytest

from actors.posterior import write_pool
from bots import AnchorPrior
from bots.config.train import TrainConfig, load_config
from bots.config.tree import ConfigError, dump_config, parse_config, read_tree
from bots.pool import TaskPool
from pipelines.shared.job_folder import CONFIG, POOL
from pipelines.shared.preflight import load_inputs
from pipelines.sweeps.folders import is_of
from pipelines.training.run_folder import as_recorded, check_folder


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


def test_auto_is_read_back_as_auto(tmp_path):
    """What was filled in is not written, or it would count as given, as in the best.yaml of a sweep."""
    pool = TaskPool.from_arrow(pa.table({"level": [i % 5 for i in range(50)]}))
    for overrides, expected in (((), "state_space"), (("selection.lam=0.1",), "beta")):
        config = load_config("configs/lab.yaml", ["selection.belief=auto", *overrides])
        path = tmp_path / "written.yaml"
        path.write_text(dump_config(config))
        again = parse_config(TrainConfig, read_tree(path, []), "again")
        assert again == config
        assert again.on(pool).selection == config.on(pool).selection
        assert again.on(pool).selection.belief == expected


def test_a_resumed_run_keeps_its_belief_though_the_pool_got_levels(small_job):
    config = small_job("pool.sources.0.anchors=null", "selection.belief=auto")
    without, grown = (
        TaskPool.from_arrow(pa.table({"id": [str(i) for i in range(size)], **more}))
        for size, more in ((20, {}), (40, {"level": list(range(40))}))
    )
    assert config.on(grown).selection.belief == "state_space"
    config.run.path.mkdir()
    (config.run.path / CONFIG).write_text(dump_config(config.on(without)))
    assert as_recorded(config).on(grown).selection.belief == "beta"
    check_folder(as_recorded(config).on(grown), resume=True, overwrite=False)
    changed = small_job("pool.sources.0.anchors=null", "selection.belief=auto", "selection.p_star=0.4")
    with pytest.raises(ConfigError, match=r"started with selection.p_star = 0.5, now it is 0.4"):
        check_folder(as_recorded(changed).on(grown), resume=True, overwrite=False)


def test_a_measured_pool_s_prior_is_written_down_and_known_again(small_job):
    config = small_job()
    inputs = load_inputs(config)
    assert inputs.config.selection.prior == AnchorPrior(8)
    config.run.path.mkdir()
    write_pool(inputs.train.pool, config.run.path / POOL)
    (config.run.path / CONFIG).write_text(dump_config(inputs.config))
    assert load_config(config.run.path / CONFIG).selection.prior == AnchorPrior(8)
    assert is_of(config)
    assert not is_of(small_job("selection.prior=[1,1]"))
    check_folder(inputs.config, resume=True, overwrite=False)
    with pytest.raises(ConfigError, match=r"started with selection\.prior"):
        check_folder(load_inputs(small_job("selection.prior=[1,1]")).config, resume=True, overwrite=False)


def test_a_run_that_began_with_the_uniform_prior_keeps_it_when_it_is_resumed(small_job):
    """As every run from before there was `auto`, and one whose tasks were measured meanwhile."""
    config = small_job()
    known = load_inputs(config)
    config.run.path.mkdir()
    began = known.config.selection.having(prior=(1.0, 1.0))
    (config.run.path / CONFIG).write_text(dump_config(known.config.model_copy(update={"selection": began})))
    resumed = as_recorded(config).on(known.train.pool)
    assert resumed.selection.prior == (1, 1)
    check_folder(resumed, resume=True, overwrite=False)
