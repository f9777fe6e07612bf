"""A rank that stops inside a collective operation: real processes, actually stopped."""

import os
import signal
import socket
import time
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from actors.learner_watch import RankTimeout, RankWatch

LIMIT = 5.0
# torch is imported once for all of them.
SERVER = mp.get_context("forkserver")
SERVER.set_forkserver_preload(["torch.distributed", "actors.learner_watch"])


def rank_process(rank, port, stopped, tell, answers):
    group = {"rank": rank, "world_size": 2, "timeout": timedelta(seconds=120)}
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", **group)
    watch = RankWatch(LIMIT, node=f"node-{rank}")

    def alive_and_elsewhere():
        watch.arrive("a step")
        dist.all_reduce(torch.ones(1))
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=3))
        if rank == stopped:
            time.sleep(600)
        watch.arrive("the next step")
        dist.all_reduce(torch.ones(1))

    def work():
        watch.arrive("a slow step")
        if rank == stopped:
            # Longer than the limit, but this rank is alive, so the other waits.
            time.sleep(1.3 * LIMIT)
        dist.all_reduce(torch.ones(1))
        watch.arrive("the next step")
        while rank != stopped and watch._others[stopped].phase != "the next step":
            time.sleep(0.05)
        dist.all_reduce(torch.ones(1))
        if rank == stopped:
            os.kill(os.getpid(), signal.SIGSTOP)
            # This thread may continue for a moment and must not take part.
            time.sleep(600)
        dist.all_reduce(torch.ones(1))

    try:
        watch.run(alive_and_elsewhere if answers else work)
    except RankTimeout as error:
        tell.send(str(error))
    os._exit(0)


def start(stopped, answers=False):
    """Two ranks, and the end of the pipe on which one of them reports what it observed of the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hear, tell = SERVER.Pipe(duplex=False)
    ranks = [
        SERVER.Process(target=rank_process, args=(rank, port, stopped, tell, answers)) for rank in (0, 1)
    ]
    for process in ranks:
        process.start()
    return hear, ranks


def test_a_rank_that_is_stopped_or_elsewhere_is_named_with_its_node_and_phase_and_a_slow_one_is_waited_for():
    # Rank 0 holds the store. Run all pairs at once, since most of the time is waiting.
    pairs = [start(stopped) for stopped in (0, 1)]
    elsewhere = start(1, answers=True)
    try:
        for stopped, (hear, _) in enumerate(pairs):
            assert hear.poll(100), "nobody said anything"
            # In the phase after the slow one, so the slow one was tolerated.
            assert hear.recv() == (
                f"the next step: rank {stopped} on node-{stopped} did not answer, last heard of in 'the next step', "
                "within learner.timeout_s = 5 s: it hangs, or its node is out of reach"
            )
        # It answers all the time, so only the collective's own limit ends the wait.
        assert elsewhere[0].poll(100), "nobody said anything"
        assert elsewhere[0].recv() == (
            "the next step: a collective operation did not end within learner.collective_timeout_s: rank 1 on node-1 "
            "has not come, it is in 'a step'"
        )
    finally:
        for process in (process for _, ranks in [*pairs, elsewhere] for process in ranks):
            process.kill()
            process.join()
