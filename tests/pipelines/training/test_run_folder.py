"""A run's folder: results are not replaced by a job that cannot start, or by another kind of job."""

import json

import pyarrow as pa
import pytest
import ray
from rich.console import Console

from bots.config.tree import ConfigError, parse_config
from bots.pool import TaskPool
from bots.rollouts.encoded_pool import EncodedPool, Prompts
from pipelines.anchoring.config import AnchorsConfig
from pipelines.anchors import measure_anchors
from pipelines.shared import ray_session
from pipelines.shared.job_folder import kind_of
from pipelines.shared.preflight import RunInputs, load_inputs
from pipelines.shared.resources import ResourceError
from pipelines.train import train
from pipelines.training.run_folder import check_folder, check_pools, create_folder, record_pools
from tests.pipelines.checkpoints import make_checkpoint
from tests.pipelines.contents import files

QUIET = Console(quiet=True)


def earlier_run(config, *steps, status=None, checkpoint=None):
    """The folder of a run that made `steps`, as a killed run leaves it, or of one that ended."""
    folder = create_folder(config, resume=False, overwrite=False)
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in steps))
    if status:
        (folder / "summary.json").write_text(json.dumps({"status": status}))
    if checkpoint:
        make_checkpoint(folder, checkpoint)
    return folder


def anchors_config(folder, name="small", **sections):
    tree = {
        "run": {"name": name, "folder": str(folder)},
        "pool": {"sources": [{"kind": "lab", "size": 24, "seed": 5, "anchors": None, "domains": ["math"]}]},
        "weak": {"path": "lab:weak"},
        "strong": {"path": "lab:strong"},
        "rollout": {"samples": 4, "max_tokens": 64, "max_model_len": 128, "dtype": "float32"},
    }
    return parse_config(AnchorsConfig, tree | sections, "test")


def test_an_existing_run_is_neither_overwritten_nor_resumed_unasked(small_job):
    config = small_job()
    with pytest.raises(ConfigError, match="nothing to resume"):
        create_folder(config, resume=True, overwrite=False)
    folder = create_folder(config, resume=False, overwrite=False)
    with pytest.raises(ConfigError, match=r"--resume.*--overwrite"):
        create_folder(config, resume=False, overwrite=False)
    with pytest.raises(ConfigError, match=r"selection.lam = 0.1, now it is 0.3"):
        create_folder(small_job("selection.lam=0.3"), resume=True, overwrite=False)
    with pytest.raises(ConfigError, match=r"run.keep_best = False, now it is True"):
        create_folder(small_job("run.keep_best=true"), resume=True, overwrite=False)
    assert create_folder(small_job("run.steps=9"), resume=True, overwrite=False) == folder
    elsewhere = small_job("rollout.engines=4", "rollout.max_staleness=1", "learner.ranks=1")
    assert create_folder(elsewhere, resume=True, overwrite=False) == folder
    gentler = small_job("learner.lr=1e-7", "learner.tokens_per_micro_batch=512", "rollout.resources={a: 1}")
    assert create_folder(gentler, resume=True, overwrite=False) == folder
    with pytest.raises(
        ConfigError, match=r"pool.sources.0.size = \d+, now it is 77; a resumed run must keep it"
    ):
        create_folder(small_job("pool.sources.0.size=77"), resume=True, overwrite=False)
    assert create_folder(config, resume=False, overwrite=True) == folder


def test_a_folder_of_something_else_is_never_removed(small_job):
    config = small_job()
    config.run.path.mkdir()
    (config.run.path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not a run's folder"):
        create_folder(config, resume=False, overwrite=True)
    assert (config.run.path / "thesis.tex").exists()


def test_an_anchors_job_s_folder_is_not_a_run_s_and_the_reverse(small_job, tmp_path):
    config = small_job()
    folder = earlier_run(config, 0, 1)
    assert kind_of(folder) == "train"
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="small is not an anchors job's folder"):
            measure_anchors(anchors_config(tmp_path), overwrite=overwrite, console=QUIET)
    assert (folder / "metrics.jsonl").exists()
    (folder / "config.yaml").write_text("run: {name: small}\nweak: {}\nstrong: {}\n")
    assert kind_of(folder) == "anchors"
    with pytest.raises(ConfigError, match="not a run's folder; it is not overwritten"):
        check_folder(config, resume=False, overwrite=True)
    with pytest.raises(ConfigError, match=r"nothing to resume in .*: its config.yaml is not a run's"):
        check_folder(config, resume=True, overwrite=False)


def test_an_unwritable_folder_is_named(small_job, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        create_folder(small_job(f"run.folder={tmp_path / 'file' / 'runs'}"), resume=False, overwrite=False)


@pytest.mark.parametrize("flag", ["overwrite", "resume"])
def test_a_run_that_the_cluster_has_no_room_for_leaves_the_earlier_one_as_it_is(cluster, small_job, flag):
    folder = earlier_run(small_job("learner.gpus=1"), 0, 1, status="stopped", checkpoint=1)
    before = files(folder)
    with pytest.raises(ResourceError, match="asks for 1 GPU"):
        train(small_job("learner.gpus=1"), console=QUIET, **{flag: True})
    assert files(folder) == before


def test_what_was_refused_can_be_started_corrected(cluster, small_job):
    config = small_job("learner.gpus=1")
    with pytest.raises(ResourceError, match="asks for 1 GPU"):
        train(config, console=QUIET)
    assert not config.run.path.exists()
    assert check_folder(config, resume=False, overwrite=False) is None


def test_anchors_that_there_is_no_room_for_leave_the_earlier_ones_as_they_are(cluster, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "config.yaml").write_text("run: {name: small}\nweak: {}\nstrong: {}\n")
    rollout = {"samples": 4, "max_tokens": 64, "max_model_len": 128, "cpus": 99}
    with pytest.raises(ResourceError, match="asks for 99 CPU"):
        measure_anchors(anchors_config(tmp_path, rollout=rollout), overwrite=True, console=QUIET)
    assert list(files(folder)) == [(folder / "config.yaml").relative_to(folder)]


def test_a_run_of_that_name_that_is_alive_on_the_cluster_keeps_its_folder(cluster, small_job, monkeypatch):
    @ray.remote(num_cpus=0)
    class Journal:
        def pid(self):
            return 0

    monkeypatch.setattr(ray_session, "PREVIOUS_RUN_SECONDS", 0.2)
    folder = earlier_run(small_job(), 0, 1)
    before = files(folder)
    alive = Journal.options(name="small/journal").remote()
    ray.get(alive.pid.remote())
    with pytest.raises(ConfigError, match=r"a run of that name is alive on this cluster \(small/journal\)"):
        train(small_job(), overwrite=True, console=QUIET)
    assert files(folder) == before
    ray.kill(alive)


def test_a_run_without_a_checkpoint_is_not_begun_again_silently(small_job):
    config = small_job()
    folder = earlier_run(config, 0, 1)
    said = check_folder(config, resume=True, overwrite=False)
    assert said == f"{folder} has 1 steps but no checkpoint yet: the run starts over"
    with pytest.raises(
        ConfigError, match=r"1 steps but no checkpoint .*run.checkpoint_every is 0.*--overwrite"
    ):
        check_folder(small_job("run.checkpoint_every=0"), resume=True, overwrite=False)
    (folder / "summary.json").write_text('{"status": "finished"}')
    with pytest.raises(ConfigError, match="no checkpoint to resume from, and it is finished"):
        create_folder(config, resume=True, overwrite=False)
    assert (folder / "summary.json").exists()


def test_a_run_with_a_checkpoint_or_without_a_step_is_resumed_without_a_word(small_job):
    finished, begun = small_job(name="finished"), small_job(name="begun")
    earlier_run(finished, 0, 1, 2, 3, status="finished", checkpoint=3)
    assert check_folder(small_job("run.steps=9", name="finished"), resume=True, overwrite=False) is None
    earlier_run(begun, 0)
    assert check_folder(begun, resume=True, overwrite=False) is None


def with_pools(train, evaluation=None):
    """What `prepare` makes of pools with these ids."""
    pools = [
        None if ids is None else EncodedPool(TaskPool.from_arrow(pa.table({"id": list(ids)})), Prompts([]))
        for ids in (train, evaluation)
    ]
    return RunInputs(None, "", *pools)


@pytest.mark.parametrize(
    ("train", "evaluation", "refused"),
    [
        ("abc", "xy", None),
        ("abcd", "xy", None),
        ("abd", "xy", "pool is not the pool that the run in .* started with: 3 tasks then, 3 now"),
        ("ab", "xy", "pool is not the pool .* 3 tasks then, 2 now"),
        ("abc", "xyz", "evaluation.pool is not the pool .* 2 tasks then, 3 now"),
    ],
)
def test_a_resumed_run_keeps_its_pools(tmp_path, train, evaluation, refused):
    check_pools(tmp_path, with_pools(train, evaluation))  # from a version that did not record them
    record_pools(tmp_path, with_pools("abc", "xy"))
    again = with_pools(train, evaluation)
    if refused is None:
        check_pools(tmp_path, again)
    else:
        with pytest.raises(ConfigError, match=f"^{refused}"):
            check_pools(tmp_path, again)


def test_a_run_whose_pool_has_changed_is_not_resumed(small_job, tmp_path):
    config = small_job()
    folder = earlier_run(config, 0, 1, checkpoint=1)
    record_pools(folder, load_inputs(small_job("pool.sources.0.seed=5")))
    with pytest.raises(ConfigError, match=r"^pool is not the pool .* 200 tasks then, 200 now"):
        train(config, resume=True, console=QUIET)
    assert not (folder / "pool.arrow").exists(), "no actor was started"


@pytest.mark.parametrize(
    "damage",
    [
        b"", b'{"pool": {"tas', b"\xff\xfe", bytes(40), b"null", b"[]", b"5", b"{}", b'{"pool": null}',
        b'{"pool": {"tasks": "x", "fingerprint": 1}}',
    ],
)  # fmt: skip
def test_damaged_facts_of_the_pools_are_told_with_the_way_out(tmp_path, damage):
    inputs = with_pools(["a", "b"])
    (tmp_path / "pools.json").write_bytes(damage)
    with pytest.raises(ConfigError, match=r"pools\.json is damaged .* delete the file"):
        check_pools(tmp_path, inputs)
    (tmp_path / "pools.json").unlink()
    check_pools(tmp_path, inputs)


@pytest.mark.parametrize("summary", [b"", b"\xff", b"[]", b'{"steps": 3}', b'{"status": "finis'])
def test_a_damaged_summary_counts_as_an_end_where_a_restart_would_lose_steps(small_job, summary):
    config = small_job()
    folder = earlier_run(config, 1, 2)
    (folder / "summary.json").write_bytes(summary)
    with pytest.raises(ConfigError, match="2 steps but no checkpoint to resume from"):
        check_folder(config, resume=True, overwrite=False)


def test_limits_and_what_is_written_may_change_at_a_resume(small_job):
    folder = create_folder(small_job(), resume=False, overwrite=False)
    other = [
        "rollout.start_timeout_s=50",
        "learner.collective_timeout_s=90",
        "run.export=false",
        "run.gpu_memory_gib=9",
    ]
    assert create_folder(small_job(*other), resume=True, overwrite=False) == folder
