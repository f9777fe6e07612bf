"""Loads new weights into a running vLLM engine, through vLLM's own weight-transfer calls, in each of its workers.

vLLM runs an update as start → update → finish(version); a back-end defines how the bytes arrive. Ours takes tensors
that come with the call, read from Ray's object store without a copy, or receives a broadcast: each worker of a
tensor-parallel engine then has its own seat in it. It works on CPUs, where `model.load_weights` alone fails because
linear layers are pre-packed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from actors.weights.broadcast import Receiver
from actors.weights.channel import BroadcastChannel
from actors.weights.format import Bucket
from actors.weights.late_checksum import LateChecksum

BACKEND = "bots"
WORKER_EXTENSION = f"{__name__}.WorkerExtension"


class WrongWeights(RuntimeError):
    """A worker received other weights than the learner sent."""


@dataclass
class NoInit(WeightTransferInitInfo):
    """Empty: tensors come with the call, so there is no channel to set up."""


@dataclass
class NewWeights(WeightTransferUpdateInfo):
    """Parameters in the checkpoint's names and shapes: one bucket, or the broadcast that brings all of them.

    channel: for the engine's first worker; the others have the seats after it.
    """

    weights: Bucket = field(default_factory=list)
    channel: BroadcastChannel | None = None


class Transfer(WeightTransferEngine):
    """Loads buckets of checkpoint-format tensors and re-packs each layer once."""

    init_info_cls = NoInit
    update_info_cls = NewWeights

    def __init__(self, config: Any, vllm_config: Any, device: torch.device, model: torch.nn.Module) -> None:
        super().__init__(config, vllm_config, device, model)
        self._receiver = Receiver()
        self._check: LateChecksum | None = None

    def init_transfer_engine(self, init_info: NoInit) -> None:
        """Nothing to set up."""

    def start_weight_update(self) -> None:
        """Restore every layer to its checkpoint format."""
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: NewWeights) -> None:
        """Load one bucket, or all of a broadcast. Its checksum is computed beside; see `received`."""
        if (channel := update_info.channel) is None:
            self.model.load_weights(update_info.weights)
            return
        channel = channel.for_seat(channel.seat + self.parallel_config.rank, channel.size)
        self._check = LateChecksum()
        for bucket in self._receiver.receive(channel):
            self._check.add(bucket)
            self.model.load_weights(bucket)
        self._check.close()

    def received(self, wait: bool) -> tuple[str, bool]:
        """The learner's checksum of the last broadcast, and whether that of the received tensors is already known.

        wait: for it. Raises WrongWeights if they differ.
        """
        said, check = self._receiver.checksum, self._check
        if check is None:
            return said, True
        if not wait and not check.done:
            return said, False
        if (found := check.hexdigest()) != said:
            raise WrongWeights(f"the weights received have checksum {found}; the learner sent {said}")
        self._check = None
        return said, True

    def finish_weight_update(self) -> None:
        """Pack the layers for the kernels again."""
        finalize_layerwise_reload(self.model, self.model_config)
        for module in self.model.modules():
            # With tied embeddings, vLLM 0.32 leaves the CPU output head packed from the old weights.
            if isinstance(module, ParallelLMHead) and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)

    def shutdown(self) -> None:
        """Nothing to release."""


class WorkerExtension:
    """What vLLM's workers get in addition, for calls of all workers of an engine."""

    weight_transfer_engine: Any

    def received_weights(self, wait: bool) -> tuple[str, bool]:
        """As `Transfer.received`."""
        found: tuple[str, bool] = self.weight_transfer_engine.received(wait)
        return found


def register() -> None:
    """Register the back-end in this process. vLLM calls it in every worker, as a plug-in (see pyproject.toml)."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, Transfer)
