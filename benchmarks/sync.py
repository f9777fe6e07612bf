"""Weight sync on a CPU: seconds and peak memory, compared with one plain copy of the same bytes.

    python -m benchmarks.sync [--sizes 10 100 500] [--engine 10 100] [--by object_store broadcast]
                              [--ranks 1 --zero 0] [--rounds 3]

Each size (millions of parameters, float32, random weights of the Qwen2 architecture) has real learner ranks, the real
weight broker, and a receiver process that checks each version's checksum and copies it into its own model. With
`--engine`, the receiver of those sizes is a real vLLM engine. Every version differs from the previous one. Prints the
fastest round after the first, because other work on the machine slows single rounds:
  copy    one thread copies every parameter once into fresh memory
  gather  on the learner: gather by bucket, and nothing else
  send    on the learner: gather, checksum, and publish or broadcast; then it continues learning
  store   on the learner, after a broadcast: until the object store has its copy too; the learner does not wait for it
  load    on the receiver: fetch and checksum, or receive, and copy into the model (or vLLM's reload); a broadcast
          overlaps it with sending
  check   on the receiver, after a broadcast: until its checksum is known too; an engine's steps do not wait for it
  ratio   time until the receiver has the weights, over copy: send + load, or the longer of the two in a broadcast
CPU seconds (of all threads) of copy, send and load, which do not depend on what else the machine does as much;
and peak memory above the level before: private memory of all learner ranks, the object store, and private memory of the
receiver.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import deepspeed
import ray
import torch
from ray._private.internal_api import memory_summary
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

from actors.environment import engine_environment, learner_environment
from actors.weights.broadcast import Receiver
from actors.weights.broker import WeightBroker
from actors.weights.channel import BroadcastChannel
from actors.weights.format import Checksum
from actors.weights.late_checksum import LateChecksum
from actors.weights.sync import BUCKET_BYTES, BroadcastSync, ObjectStoreSync
from bots.config.train import LearnerConfig, ModelConfig, RolloutConfig
from bots.lab.checkpoints import checkpoint_path

MIB = 2**20
SHAPES = {
    10: {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8, "vocab_size": 8192},
    100: {"hidden_size": 768, "intermediate_size": 2304, "num_hidden_layers": 12, "vocab_size": 16384},
    # Qwen2.5-0.5B's own shape.
    500: {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "vocab_size": 151936},
}


class Peak:
    """Peak of an amount while a block runs, above its value before; sampled by a thread."""

    def __init__(self, amount: Callable[[], int], pause: float = 0.005) -> None:
        self._amount, self._pause = amount, pause
        self.bytes = 0

    def __enter__(self) -> Peak:
        self._before, self._done = self._amount(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._pause):
            self.bytes = max(self.bytes, self._amount() - self._before)


def private_memory() -> int:
    """Private memory of this process, in bytes."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def store_memory() -> int:
    """Bytes used in the object store."""
    summary = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    found = re.search(r"Plasma memory usage (\d+) MiB", summary)
    return int(found[1]) * MIB if found else 0


@ray.remote(num_cpus=0)
class Rank:
    """A learner rank."""

    def __init__(self, rank: int, ranks: int, port: int, zero: int, model: str) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
        torch.set_num_threads(1)
        address = f"tcp://127.0.0.1:{port}"
        torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=ranks)
        from actors.learner import Learner

        config = LearnerConfig(ranks=ranks, zero_stage=zero)
        self.learner = Learner(model, ModelConfig(path=model), config, temperature=1.0)
        self.sync: Any = None

    def send(self, version: int, by: str, broker: Any, announce: Any) -> tuple[float, int, float]:
        """Seconds, peak bytes and CPU seconds of sending one policy version."""
        self.learner.engine.module.model.norm.weight.data += 1e-3
        first = self.learner.rank == 0
        coordinator = SimpleNamespace(
            new_weights=announce.announce, stored=announce.stored, invite=announce.invite
        )
        if self.sync is None:
            back_end = BroadcastSync if by == "broadcast" else ObjectStoreSync
            self.sync = back_end(self.learner, *((broker, coordinator) if first else (None, None)))
        sync = self.sync
        started, cpu = time.perf_counter(), time.process_time()
        with Peak(private_memory) as peak:
            sync.send(version)
        return time.perf_counter() - started, peak.bytes, time.process_time() - cpu

    def settle(self) -> float:
        """Seconds until the store has what was sent."""
        started = time.perf_counter()
        self.sync.settle()
        return time.perf_counter() - started

    def gather(self, whole: bool) -> tuple[float, int]:
        """Seconds and peak bytes of a ZeRO-3 gather: bucket by bucket, as for a sync, or of all parameters at once."""
        parameters = list(self.learner.engine.module.parameters())
        started = time.perf_counter()
        with Peak(private_memory) as peak:
            if whole:
                with deepspeed.zero.GatheredParameters(parameters):
                    copies = [p.detach().clone() for p in parameters] if self.learner.rank == 0 else []
                del copies
            else:
                for _ in self.learner.weight_buckets(BUCKET_BYTES):
                    pass
        return time.perf_counter() - started, peak.bytes

    def plain_copy(self) -> tuple[float, float]:
        """Seconds and CPU seconds to copy every parameter into fresh memory."""
        parameters = [parameter.detach().view(-1) for parameter in self.learner.engine.module.parameters()]
        started, cpu = time.perf_counter(), time.process_time()
        # One large allocation. Many small ones would reuse warm memory, but only for small models.
        fresh = torch.empty(sum(len(parameter) for parameter in parameters))
        torch.cat(parameters, out=fresh)
        return time.perf_counter() - started, time.process_time() - cpu


@ray.remote(num_cpus=0)
class Announcements:
    """Takes the coordinator's place in a run."""

    def __init__(self, receiver: Any) -> None:
        self.receiver = receiver
        self.newest = (-1, "")
        self.receiving: Any = None

    def invite(self, version: int, channel: BroadcastChannel) -> BroadcastChannel:
        """Have the receiver join a broadcast, with the group of the one before."""
        channel = replace(channel, group=max(0, channel.group))
        self.receiving = self.receiver.receive.remote(channel.for_seat(1, 2), version)
        return channel.for_seat(0, 2)

    async def received(self) -> tuple[float, int, float, str]:
        """The receiver's result of the broadcast."""
        return await self.receiving

    def announce(self, version: int, checksum: str, stored: bool = True) -> None:
        """Note the newest version."""
        self.newest = (version, checksum)

    def stored(self, version: int) -> None:
        """Nothing waits for the store."""

    def get(self) -> tuple[int, str]:
        """The newest version and its checksum."""
        return self.newest


@ray.remote(num_cpus=0)
class Taker:
    """A process with a copy of the model: plain transformers, or a vLLM engine."""

    def __init__(self, model: str, engine: bool) -> None:
        torch.set_num_threads(1)
        self._receiver = Receiver()
        self._check: LateChecksum | None = None
        self._engine: Any = None
        if engine:
            from actors.engine import Engine

            config = RolloutConfig(dtype="float32", max_model_len=64, max_tokens=32, max_num_seqs=16)
            self._engine = Engine(model, config)
        else:
            policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
            self._parameters = dict(policy.named_parameters())

    def _copy(self, buckets: Iterable, add: Callable[[Any], None]) -> None:
        with torch.no_grad():
            for bucket in buckets:
                add(bucket)
                for name, tensor in bucket:
                    self._parameters[name].copy_(tensor)

    def _load(self, buckets: Iterable, version: int) -> str:
        if self._engine is not None:
            return self._engine.load(buckets, version)
        checksum = Checksum()
        self._copy(buckets, checksum.add)
        return checksum.hexdigest()

    def _receive(self, channel: BroadcastChannel, version: int) -> str:
        if self._engine is not None:
            return self._engine.receive(channel, version)
        self._check = LateChecksum()
        self._copy(self._receiver.receive(channel), self._check.add)
        return self._receiver.checksum

    def check(self) -> float:
        """Seconds until what was received is checked. Raises RuntimeError if it is not what was sent."""
        started = time.perf_counter()
        if self._engine is not None:
            self._engine._settle()
        elif (check := self._check) is not None and check.hexdigest() != self._receiver.checksum:
            raise RuntimeError(f"received {check.hexdigest()}, the learner sent {self._receiver.checksum}")
        return time.perf_counter() - started

    def ready(self) -> bool:
        """True, once the model is loaded."""
        return True

    def load(self, broker: Any, announce: Any) -> tuple[float, int, float]:
        """Seconds, peak bytes and CPU seconds to load the newest version. Raises RuntimeError if it is a wrong one."""
        version, expected = ray.get(announce.get.remote())
        seconds, peak, cpu, found = self._timed(
            lambda: self._load(ray.get(ray.get(broker.references.remote())[1]), version)
        )
        if found != expected:
            raise RuntimeError(f"received {found}, the learner sent {expected}")
        return seconds, peak, cpu

    def receive(self, channel: BroadcastChannel, version: int) -> tuple[float, int, float, str]:
        """Seconds, peak bytes, CPU seconds and checksum of a broadcast version."""
        return self._timed(lambda: self._receive(channel, version))

    def _timed(self, take: Callable[[], str]) -> tuple[float, int, float, str]:
        started, cpu = time.perf_counter(), time.process_time()
        with Peak(private_memory) as peak:
            found = take()
        return time.perf_counter() - started, peak.bytes, time.process_time() - cpu, found


def make_model(size: int, folder: str) -> int:
    """Write a random model; returns its number of parameters."""
    torch.manual_seed(size)
    shape = SHAPES[size]
    heads = shape["hidden_size"] // 64
    config = Qwen2Config(
        **shape,
        num_attention_heads=heads,
        num_key_value_heads=2 if heads % 2 == 0 else 1,
        tie_word_embeddings=True,
        max_position_embeddings=512,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint_path("base")).save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def start_group(ranks: int, zero: int, folder: str) -> list[Any]:
    """Start learner ranks with the model in the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = Rank.options(runtime_env={"env_vars": learner_environment(1, on_gpu=False)}).remote
    return [start(rank, ranks, port, zero, folder) for rank in range(ranks)]


def measure(size: int, engine: bool, by: str, ranks: int, zero: int, rounds: int) -> dict[str, Any]:
    """Measure one row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        parameters = make_model(size, folder)
        group = start_group(ranks, zero, folder)
        receiver_environment = {"env_vars": engine_environment(1, on_gpu=False)}
        receiver = Taker.options(runtime_env=receiver_environment).remote(folder, engine)
        broker, announce = WeightBroker.remote(), Announcements.remote(receiver)
        ray.get(receiver.ready.remote())
        copies, gathers, sends, stores, loads, checks, peaks = [], [], [], [], [], [], []
        cpu: dict[str, list[float]] = {"copy": [], "send": [], "load": []}
        for version in range(rounds + 1):
            with Peak(store_memory, pause=0.05) as store:
                sent = ray.get([rank.send.remote(version, by, broker, announce) for rank in group])
                if by == "broadcast":
                    seconds, receiver_peak, load_cpu, found = ray.get(announce.received.remote())
                    if (version, found) != ray.get(announce.get.remote()):
                        raise RuntimeError(f"received {found} as version {version}, the learner sent another")
                    checks.append(ray.get(receiver.check.remote()))
                    stores.append(ray.get(group[0].settle.remote()))
                else:
                    seconds, receiver_peak, load_cpu = ray.get(receiver.load.remote(broker, announce))
            loads.append(seconds)
            sends.append(max(seconds for seconds, _, _ in sent))
            peaks.append((sum(peak for _, peak, _ in sent), store.bytes, receiver_peak))
            cpu["load"].append(load_cpu)
            cpu["send"].append(sum(cpu_seconds for _, _, cpu_seconds in sent))
            # Under ZeRO-3 no rank has a whole parameter to copy.
            gathers.append(
                max(seconds for seconds, _ in ray.get([rank.gather.remote(False) for rank in group]))
            )
            plain = ray.get(group[0].plain_copy.remote()) if zero < 3 else (float("nan"), float("nan"))
            copies.append(plain[0])
            cpu["copy"].append(plain[1])
        for actor in [*group, broker, announce, receiver]:
            ray.kill(actor)
    copy, gather, send, load = (min(seconds[1:]) for seconds in (copies, gathers, sends, loads))
    store_s, check = (min(seconds[1:], default=0.0) for seconds in (stores, checks))
    learner_mib, store_mib, receiver_mib = (max(column) / MIB for column in zip(*peaks, strict=True))
    return {
        "parameters": parameters,
        "mib": parameters * 4 / MIB,
        "by": by,
        "receiver": "vLLM" if engine else "model",
        "ranks": ranks,
        "zero": zero,
        "copy_s": copy,
        "gather_s": gather,
        "send_s": send,
        "store_s": store_s,
        "load_s": load,
        "check_s": check,
        **{f"{name}_cpu_s": min(seconds[1:]) for name, seconds in cpu.items()},
        "ratio": (max(send, load) if by == "broadcast" else send + load) / copy,
        "learner_peak_mib": learner_mib,
        "store_peak_mib": store_mib,
        "receiver_peak_mib": receiver_mib,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--engine", type=int, nargs="*", default=[10, 100], choices=SHAPES)
    parser.add_argument("--by", nargs="+", default=["object_store", "broadcast"])
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--zero", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ray.init(
        address="local",  # not one that happens to run on this machine
        num_cpus=4,
        object_store_memory=5 * 2**30,
        include_dashboard=False,
        logging_level="error",
        log_to_driver=False,
    )
    print(
        f"{'M':>5}{'MiB':>7} {'by':>13}{'receiver':>9}{'copy s':>8}{'gather s':>9}{'send s':>8}{'store s':>8}"
        f"{'load s':>8}{'check s':>8}{'ratio':>7}{'CPU: copy':>10}{'send':>6}{'load':>6}"
        f"{'learner MiB':>13}{'store MiB':>11}{'receiver MiB':>14}"
    )
    receivers = [(size, False) for size in options.sizes] + [(size, True) for size in options.engine]
    for (size, engine), by in itertools.product(receivers, options.by):
        line = measure(size, engine, by, options.ranks, options.zero, options.rounds)
        print(
            f"{line['parameters'] / 1e6:5.0f}{line['mib']:7.0f} {line['by']:>13}{line['receiver']:>9}"
            f"{line['copy_s']:8.3f}{line['gather_s']:9.3f}{line['send_s']:8.3f}{line['store_s']:8.3f}{line['load_s']:8.3f}"
            f"{line['check_s']:8.3f}{line['ratio']:7.1f}"
            f"{line['copy_cpu_s']:10.2f}{line['send_cpu_s']:6.2f}{line['load_cpu_s']:6.2f}{line['learner_peak_mib']:13.0f}"
            f"{line['store_peak_mib']:11.0f}{line['receiver_peak_mib']:14.0f}"
        )
        print(json.dumps(line), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
