"""Which checkpoint a resume uses: a damaged or half-written one is named, never silently skipped."""

import json
import shutil

import pytest

from bots.config.tree import ConfigError
from pipelines.training.run_folder import check_folder, create_folder
from pipelines.training.saved import FOLDER, RECORD, committed, leftovers, restore_from
from tests.pipelines.checkpoints import make_checkpoint


def run_of(config, *checkpoints, steps=6):
    folder = create_folder(config, resume=False, overwrite=False)
    lines = [json.dumps({"step": step}) + "\n" for step in range(steps + 1)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    for step in checkpoints:
        make_checkpoint(folder, step)
    return folder


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("hurt", [truncate, flip_a_bit, lambda path: path.unlink()])
@pytest.mark.parametrize(
    "name", ["learner/mp_rank_00_model_states.pt", "posterior.arrow", "progress.pkl", "learner.json"]
)
def test_any_damage_to_the_newest_checkpoint_is_named_and_the_one_before_it_offered(small_job, hurt, name):
    folder = run_of(small_job(), 2, 4)
    assert check_folder(small_job(), resume=True, overwrite=False) is None
    hurt(folder / FOLDER / "step_000004" / name)
    with pytest.raises(ConfigError, match=r"step_000004 is damaged: .*--resume-from 2 continues from there"):
        check_folder(small_job(), resume=True, overwrite=False)
    assert check_folder(small_job(), resume=True, overwrite=False, resume_from=2) is None
    create_folder(small_job(), resume=True, overwrite=False, resume_from=2)
    record = json.loads((folder / FOLDER / RECORD).read_text())
    assert record["latest_checkpoint_result"]["checkpoint_dir_name"] == "step_000002"
    assert [saved.step for saved in committed(folder)] == [2]
    assert (folder / FOLDER / "aside_step_000004").is_dir(), "kept for a person to look at"


def test_where_none_is_whole_the_run_says_so(small_job):
    folder = run_of(small_job(), 2, 4)
    for step in (2, 4):
        truncate(folder / FOLDER / f"step_{step:06d}" / "progress.pkl")
    with pytest.raises(ConfigError, match=r"and so are all earlier ones\. Start over with --overwrite"):
        check_folder(small_job(), resume=True, overwrite=False)


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(small_job):
    run_of(small_job(), 2, 4)
    with pytest.raises(ConfigError, match="no checkpoint of step 3; it has: 2, 4"):
        check_folder(small_job(), resume=True, overwrite=False, resume_from=3)


def test_a_half_written_checkpoint_is_none(small_job):
    folder = run_of(small_job())
    (folder / FOLDER / "step_000004").mkdir(parents=True)
    said = check_folder(small_job(), resume=True, overwrite=False)
    assert said == (
        f"{folder} has 6 steps but no checkpoint yet (step_000004 was never completed): the run starts over"
    )
    create_folder(small_job(), resume=True, overwrite=False)
    assert not (folder / FOLDER / "step_000004").exists(), "its files would mix with those of the next one"


def test_a_checkpoint_that_ray_did_not_note_does_not_count(small_job):
    folder = run_of(small_job(), 2)
    make_checkpoint(folder, 4, committed=False)
    assert [saved.step for saved in leftovers(folder)] == [4]
    create_folder(small_job(), resume=True, overwrite=False)
    assert [saved.step for saved in committed(folder)] == [2]
    assert not leftovers(folder)


@pytest.mark.parametrize("record", [None, b"", b'{"checkpoint_results": [', b"\xff\xfe", b"[]", b"{}"])
def test_a_lost_record_is_made_again_from_the_whole_checkpoints(small_job, record):
    folder = run_of(small_job(), 2, 4)
    shutil.copytree(folder / FOLDER / "step_000004", folder / FOLDER / "step_000006")
    truncate(folder / FOLDER / "step_000006" / "progress.pkl")
    if record is None:
        (folder / FOLDER / RECORD).unlink()
    else:
        (folder / FOLDER / RECORD).write_bytes(record)
    assert check_folder(small_job(), resume=True, overwrite=False) is None
    create_folder(small_job(), resume=True, overwrite=False)
    made = json.loads((folder / FOLDER / RECORD).read_text())
    assert [result["checkpoint_dir_name"] for result in made["checkpoint_results"]] == [
        "step_000002",
        "step_000004",
    ]
    assert made["current_report_index"] == 2


def test_a_checkpoint_of_an_earlier_version_has_no_manifest(small_job):
    folder = run_of(small_job(), 2, 4)
    for step in (2, 4):
        (folder / FOLDER / f"step_{step:06d}" / "files-0.json").unlink()
    assert check_folder(small_job(), resume=True, overwrite=False) is None
    flip_a_bit(folder / FOLDER / "step_000004" / "learner" / "mp_rank_00_model_states.pt")
    with pytest.raises(ConfigError, match=r"mp_rank_00_model_states.pt is damaged.*--resume-from 2"):
        check_folder(small_job(), resume=True, overwrite=False)


def test_a_step_without_a_line_is_told(small_job):
    folder = run_of(small_job(), 4)
    text = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(text.replace('{"step": 3}', '{"step": 3, "x'))
    said = check_folder(small_job(), resume=True, overwrite=False)
    assert said.endswith("metrics.jsonl has no line for 1 of the steps before the checkpoint: 3")


def test_going_on_from_nothing_leaves_no_record(small_job):
    folder = run_of(small_job(), 2)
    restore_from(folder, None)
    assert not committed(folder)
    assert not (folder / FOLDER / RECORD).exists()
