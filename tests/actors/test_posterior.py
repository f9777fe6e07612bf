"""The posterior actor in a real Ray: killed without warning, it restarts with the same state."""

import os
import signal

import numpy as np
import pyarrow as pa
import pytest
import ray

from actors.posterior import PosteriorActor, write_pool
from bots.pool import TaskPool

SETTINGS = {"p_star": 0.5, "lam": 0.1, "rho": 0.1, "rollouts": 4, "seed": 3}


@pytest.fixture
def pool(tmp_path):
    rng = np.random.default_rng(0)
    weak = rng.random(300) * 0.5
    table = pa.table({"id": [f"t{i}" for i in range(300)], "weak": weak, "strong": weak + 0.4})
    return written(TaskPool.from_arrow(table, weak="weak", strong="strong"), tmp_path / "pool.arrow")


def written(pool, path):
    write_pool(pool, path)
    return str(path), pool.anchor_columns


def rewards(step, rows):
    return np.random.default_rng([step, *rows]).integers(0, 2, (len(rows), 4)).astype(float)


def steps(actor, first, last):
    """Run selection and observation like the training loop: the next selection is requested ahead."""
    chosen = []
    for step in range(first, last + 1):
        rows, _ = ray.get(actor.select.remote(step, 16))
        chosen.append(rows.tolist())
        ray.get(actor.observe.remote(step, rows, rewards(step, rows)))
        ray.get(actor.select.remote(step + 1, 16))
    return chosen


def beliefs(actor):
    table = ray.get(actor.table.remote())
    return table["alpha"].to_numpy(), table["beta"].to_numpy()


def kill(actor):
    os.kill(ray.get(actor.pid.remote()), signal.SIGKILL)


@pytest.mark.parametrize("kill_after", [0, 1, 4])
def test_a_killed_actor_recovers_bit_for_bit(cluster, pool, tmp_path, kill_after):
    calm = PosteriorActor.remote(*pool, SETTINGS, str(tmp_path / "calm"))
    killed = PosteriorActor.remote(*pool, SETTINGS, str(tmp_path / "killed"))
    expected = steps(calm, 1, 6)
    found = steps(killed, 1, kill_after)
    kill(killed)
    found += steps(killed, kill_after + 1, 6)
    assert found == expected
    for one, two in zip(beliefs(calm), beliefs(killed), strict=True):
        assert np.array_equal(one, two)


def test_a_snapshot_and_its_log_make_one_state(cluster, pool, tmp_path):
    calm = PosteriorActor.remote(*pool, SETTINGS, str(tmp_path / "calm"))
    killed = PosteriorActor.remote(*pool, SETTINGS, str(tmp_path / "killed"))
    expected = steps(calm, 1, 5)
    found = steps(killed, 1, 2)
    ray.get(killed.snapshot.remote())
    found += steps(killed, 3, 3)
    kill(killed)
    found += steps(killed, 4, 5)
    assert found == expected


def test_going_back_to_a_snapshot_repeats_what_followed(cluster, pool, tmp_path):
    actor = PosteriorActor.remote(*pool, SETTINGS, str(tmp_path))
    steps(actor, 1, 2)
    snapshot, selected = ray.get(actor.snapshot.remote())
    expected = steps(actor, 3, 5)
    after = beliefs(actor)
    ray.get(actor.restore.remote(snapshot, selected))
    assert steps(actor, 3, 5) == expected
    assert all(np.array_equal(one, two) for one, two in zip(after, beliefs(actor), strict=True))


def test_repeated_calls_count_once(cluster, pool, tmp_path):
    actor = PosteriorActor.remote(*pool, SETTINGS, str(tmp_path))
    first, _ = ray.get(actor.select.remote(1, 16))
    again, _ = ray.get(actor.select.remote(1, 16))
    assert first.tolist() == again.tolist()
    ray.get(actor.observe.remote(1, first, rewards(1, first)))
    once = beliefs(actor)
    ray.get(actor.observe.remote(1, first, rewards(1, first)))
    assert all(np.array_equal(one, two) for one, two in zip(once, beliefs(actor), strict=True))


def test_a_snapshot_of_another_pool_is_refused(cluster, pool, tmp_path):
    actor = PosteriorActor.remote(*pool, SETTINGS, str(tmp_path / "a"))
    snapshot, selected = ray.get(actor.snapshot.remote())
    strangers = TaskPool.from_arrow(pa.table({"id": [f"x{i}" for i in range(300)]}))
    other = written(strangers, tmp_path / "other.arrow")
    settings = SETTINGS | {"evidence": "none"}
    stranger = PosteriorActor.remote(*other, settings, str(tmp_path / "b"))
    with pytest.raises(ValueError, match="pool"):
        ray.get(stranger.restore.remote(snapshot, selected))
