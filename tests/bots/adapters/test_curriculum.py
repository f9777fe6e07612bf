"""What all adapters share: waves out, rewards in any order, in pieces, late and twice; save and load."""

import json
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, SnapshotError, TaskPool
from bots.adapters import Curriculum, UnsupportedPeerError
from bots.adapters.peers import require, require_hooks
from bots.lab.pool import lab_table

N = 4


def curriculum(size=60, scale=None, wave=None, **settings):
    pool = TaskPool.from_arrow(lab_table(size, seed=3, anchors=True), weak="weak", strong="strong")
    return Curriculum(BOTS(pool, rollouts=N, seed=0, **settings), scale=scale, wave=wave)


def rewards_of(rows, seed=0):
    """(len(rows), N), by the row alone, so that order does not matter."""
    return np.array([np.random.default_rng([seed, row]).integers(0, 2, N) for row in rows], float)


def beliefs(one):
    return one.bots.alpha.tolist(), one.bots.beta.tolist(), one.bots.lam, one.bots.rho


def test_a_wave_is_what_bots_selects_and_learns():
    ours, plain = curriculum(), curriculum().bots
    for _ in range(5):
        wave = ours.select(6)
        np.testing.assert_array_equal(wave.rows, plain.select(6))
        rewards = rewards_of(wave.rows)
        assert ours.observe(np.repeat(wave.rows, N), rewards.ravel(), wave.number) == 6
        plain.observe(wave.rows, rewards)
    np.testing.assert_array_equal(ours.bots.alpha, plain.alpha)
    assert len(ours.in_flight()) == 0


def test_completions_one_by_one_in_any_order_count_as_whole_groups():
    rng = np.random.default_rng(0)
    # With a fixed λ and without implicit evidence the order cannot matter.
    fixed, parts = (curriculum(lam=0.1, rho=0.0) for _ in range(2))
    for _ in range(3):
        wave = fixed.select(6)
        parts.select(6)
        owners, rewards = np.repeat(wave.rows, N), rewards_of(wave.rows).ravel()
        fixed.observe(owners, rewards)
        completed = [parts.observe(owners[[at]], rewards[[at]]) for at in rng.permutation(len(owners))]
        assert sum(completed) == 6
    np.testing.assert_allclose(fixed.bots.alpha, parts.bots.alpha, rtol=1e-12)


def test_late_groups_go_to_the_wave_that_selected_them():
    one = curriculum(lam=0.1, rho=0.0)
    first, second = one.select(5), one.select(5)
    assert not set(first.rows) & set(second.rows)  # what is in flight is not selected again
    one.observe(np.repeat(second.rows, N), rewards_of(second.rows).ravel())
    one.observe(np.repeat(first.rows, N), rewards_of(first.rows).ravel())
    assert one.bots.step == second.number
    assert one.metrics()["late"] == 5
    other = curriculum(lam=0.1, rho=0.0)
    for wave in (other.select(5), other.select(5)):
        other.observe(np.repeat(wave.rows, N), rewards_of(wave.rows).ravel())
    np.testing.assert_allclose(one.bots.alpha, other.bots.alpha, rtol=1e-12)


def test_repeated_dropped_and_ungraded_groups_change_no_belief():
    one = curriculum()
    wave = one.select(4)
    owners = np.repeat(wave.rows, N)
    one.observe(owners[:N], np.ones(N))
    before = beliefs(one)
    assert one.observe(owners[:N], np.zeros(N)) == 0
    one.drop(wave.rows[1:2])
    assert one.observe(owners[N : 2 * N], np.ones(N)) == 0
    assert one.observe(owners[2 * N : 3 * N], np.full(N, np.nan)) == 0
    assert beliefs(one) == before
    counts = one.metrics()
    assert (counts["groups/repeated"], counts["groups/dropped"], counts["groups/ungraded"]) == (2, 1, 1)
    assert one.in_flight().tolist() == [wave.rows[3]]


def test_a_completion_without_a_reward_fills_its_place():
    one, other = curriculum(), curriculum()
    row = one.select(1).rows
    other.select(1)
    assert one.observe(np.repeat(row, N), [1.0, np.nan, 0.0, 1.0]) == 1
    other.bots.observe(row, [[1.0, 0.0, 1.0]])
    assert beliefs(one) == beliefs(other)


def test_what_arrived_of_a_group_can_be_counted_as_it_is():
    one = curriculum()
    wave = one.select(3)
    one.observe(wave.rows[[0, 0, 1]], [1.0, 0.0, 1.0])
    assert one.bots.step == -1
    assert one.flush(wave.number) == 2
    assert one.bots.table()["observations"].to_numpy()[wave.rows].tolist() == [1, 1, 0]


def test_rows_that_nobody_selected_are_refused():
    one = curriculum()
    wave = one.select(3)
    stranger = next(row for row in range(60) if row not in wave.rows)
    before = json.dumps(one.state_dict())
    with pytest.raises(
        ValueError, match=rf"row {stranger} \(id lab/.*was not selected in any of the last 256"
    ):
        one.observe([wave.rows[0], stranger], [1.0, 1.0])
    with pytest.raises(ValueError, match="not selected in wave 7"):
        one.observe(wave.rows[:1], [1.0], wave=7)
    with pytest.raises(ValueError, match="one for each completion"):
        one.observe(wave.rows[:2], [1.0])
    assert json.dumps(one.state_dict()) == before


def test_waves_that_are_too_old_expire():
    one = curriculum(history=2, lam=0.1, rho=0.1)
    stale = one.select(2)
    for _ in range(3):
        wave = one.select(2)
        one.observe(np.repeat(wave.rows, N), np.ones(2 * N))
    assert one.observe(np.repeat(stale.rows, N), np.ones(2 * N), stale.number) == 0
    assert one.metrics()["groups/expired"] == 4  # two that never came, and again when they did
    assert len(one.in_flight()) == 0


def test_a_small_pool_is_selected_again_while_it_is_in_flight():
    one = curriculum(size=6)
    one.select(4)
    assert len(one.select(4).rows) == 4


@pytest.mark.parametrize(
    ("scale", "given", "seen"),
    [
        (None, [0, 1, 0.5, 1 + 1e-7], [0, 1, 0.5, 1]),
        ((-1, 1), [-1, 1, 0, 1], [0, 1, 0.5, 1]),
        (lambda rewards: (rewards > 0).astype(float), [-3, 9, 0, 1], [0, 1, 0, 1]),
    ],
)
def test_rewards_are_scaled(scale, given, seen):
    one, plain = curriculum(scale=scale), curriculum()
    row = one.select(1).rows
    plain.select(1)
    one.observe(np.repeat(row, N), given)
    plain.bots.observe(row, [seen])
    assert beliefs(one) == beliefs(plain)


def test_rewards_out_of_range_name_the_task_and_the_way_out():
    one = curriculum()
    row = int(one.select(1).rows[0])
    with pytest.raises(
        ValueError, match=rf"reward of row {row} \(id lab/.*\) is 2; BOTS needs \[0, 1\]: give scale"
    ):
        one.observe([row], [2.0])
    one.scale = (0, 1.5)
    with pytest.raises(ValueError, match=r"is 2, which scale makes 1\.3"):
        one.observe([row], [2.0])
    one.scale = (1, 1)
    with pytest.raises(ValueError, match="lowest reward, highest reward"):
        one.observe([row], [1.0])
    one.scale = lambda rewards: rewards.sum()
    with pytest.raises(ValueError, match="the shape must stay"):
        one.observe([row], [1.0])
    one.scale = None
    assert one.observe([row] * N, [1.0] * N) == 1


def test_tasks_one_by_one_make_waves():
    one, other = curriculum(wave=6), curriculum()
    taken = one.take(2) + one.take(5)
    first, second = other.select(6), other.select(6)
    assert [row for _, row in taken] == [*first.rows.tolist(), second.rows[0]]
    assert [number for number, _ in taken] == [0] * 6 + [1]
    with pytest.raises(ValueError, match="how many tasks make a wave"):
        other.take(1)


@pytest.mark.parametrize("how", ["folder", "dict"])
def test_a_run_goes_on_as_if_never_stopped(tmp_path, how):
    straight, saved = curriculum(wave=5), curriculum(wave=5)
    for one in (straight, saved):
        taken = one.take(7)
        one.observe(
            [row for _, row in taken[:4] for _ in range(N)], rewards_of([r for _, r in taken[:4]]).ravel()
        )
        one.observe([taken[4][1]], [1.0])  # a quarter of a group
    fresh = curriculum(wave=5)
    held = fresh.bots
    if how == "folder":
        saved.save(tmp_path / "bots")
        fresh.load(tmp_path / "bots")
    else:
        fresh.load_state_dict(json.loads(json.dumps(saved.state_dict())))
    assert fresh.bots is held
    last = taken[4][1]
    for one in (straight, fresh):
        assert one.observe([last] * 3, [0.0] * 3) == 1
        assert one.take(9)
    assert fresh.take(20) == straight.take(20)
    assert beliefs(fresh) == beliefs(straight)
    assert fresh.metrics() == straight.metrics()


def test_another_data_set_than_the_saved_one_is_refused(tmp_path):
    saved = curriculum()
    saved.select(4)
    saved.save(tmp_path)
    table = lab_table(60, seed=3, anchors=True)
    answers = pa.array(["other", *table["answer"].to_pylist()[1:]])
    changed = table.set_column(table.column_names.index("answer"), "answer", answers)
    other = Curriculum(BOTS(TaskPool.from_arrow(changed, "weak", "strong"), rollouts=N))
    before = beliefs(other)
    with pytest.raises(SnapshotError, match=r"belongs to another pool: .*another prompt, answer"):
        other.load(tmp_path)
    with pytest.raises(SnapshotError, match="there is no snapshot"):
        other.load(tmp_path / "nothing")
    assert beliefs(other) == before


def test_settings_that_differ_are_named_and_the_saved_ones_go_on(tmp_path):
    curriculum(lam=0.2, rho=0.1).save(tmp_path)
    other = curriculum(lam=0.1, rho=0.1, cooldown=3)
    with pytest.warns(UserWarning, match="goes on with its own settings: cooldown is 3 here, 0 there"):
        other.load(tmp_path)
    assert other.bots.lam == 0.2


def test_versions_of_a_trainer():
    assert require("numpy", "2", "100")
    with pytest.raises(
        UnsupportedPeerError, match=r"numpy \d.* is not supported: .* works with 99 and later, below 100"
    ):
        require("numpy", "99", "100")
    with pytest.raises(
        UnsupportedPeerError, match=r"no-such-trainer is not installed; pip install 'bots-rft\[trl\]'"
    ):
        require("no-such-trainer", "1", "2", extra="trl")


class Adapter:
    def get(self):
        """Extends what it follows."""

    get_indices = get


def test_a_trainer_without_a_method_that_its_adapter_extends_is_refused():
    # The adapter itself has the method: that it is callable shows nothing.
    mine = type("Mine", (Adapter, dict), {})
    require_hooks(mine, Adapter, ["get"], "dict 1.0")
    with pytest.raises(
        UnsupportedPeerError,
        match=r"^builtins.dict has no get_indices, .* it works with dict 1.0, as `class Mine\(Ad",
    ):
        require_hooks(mine, Adapter, ["get", "get_indices"], "dict 1.0")


def test_the_page_s_example_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs/adapters.md").read_text().split("## TRL")[0]
    code = textwrap.dedent("\n".join(line for line in page.splitlines() if line.startswith("    ")))
    monkeypatch.chdir(tmp_path)
    bots = curriculum(size=80).bots
    rows = np.repeat(curriculum(size=80).select(32).rows, N)
    exec(
        compile(code, "docs/adapters.md", "exec"),
        {"bots": bots, "rows": rows, "rewards": np.full(len(rows), -1.0)},
    )
    assert bots.step == 0
    assert (tmp_path / "checkpoint/bots/posterior.arrow").is_file()
