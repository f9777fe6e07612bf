"""Ranks that wait with rank 0, in separate processes."""

import time
from datetime import timedelta

import torch.distributed as dist
import torch.multiprocessing as mp

from pipelines.training.ranks import wait_with_rank_0

LIMIT_S = 2


def rank(number, store, waits, ended):
    limit = timedelta(seconds=LIMIT_S)
    dist.init_process_group("gloo", f"file://{store}", rank=number, world_size=2, timeout=limit)
    there = time.monotonic() + waits

    def arrived(seconds):
        time.sleep(max(0.0, min(seconds, there - time.monotonic())))
        return time.monotonic() >= there

    try:
        wait_with_rank_0(arrived if number == 0 else None, every_s=0.5)
        ended.put((number, "together"))
    except RuntimeError as error:
        ended.put((number, str(error)))
    dist.destroy_process_group()


def test_ranks_wait_longer_than_a_collective_may_take(tmp_path):
    context = mp.get_context("forkserver")
    ended = context.Queue()
    ranks = [
        context.Process(target=rank, args=(number, tmp_path / "store", 2 * LIMIT_S, ended))
        for number in (0, 1)
    ]
    for one in ranks:
        one.start()
    assert sorted(ended.get(timeout=60) for _ in ranks) == [(0, "together"), (1, "together")]
    for one in ranks:
        one.join(timeout=30)
    assert [one.exitcode for one in ranks] == [0, 0]
