"""Loads new weights into a running vLLM engine, through vLLM's own weight-transfer calls.

vLLM runs an update as start → update (bucket by bucket) → finish(version); a back-end defines how the bytes arrive.
Ours takes tensors that are already in the process, read from Ray's object store without a copy. It works on CPUs,
where `model.load_weights` alone fails because linear layers are pre-packed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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

from actors.weights.format import Bucket

BACKEND = "bots_object_store"


@dataclass
class NoInit(WeightTransferInitInfo):
    """Empty: tensors come with the call, so there is no channel to set up."""


@dataclass
class NamedTensors(WeightTransferUpdateInfo):
    """One bucket of parameters in the checkpoint's names and shapes."""

    weights: Bucket = field(default_factory=list)


class ObjectStoreTransfer(WeightTransferEngine):
    """Loads buckets of checkpoint-format tensors and re-packs each layer once."""

    init_info_cls = NoInit
    update_info_cls = NamedTensors

    def init_transfer_engine(self, init_info: NoInit) -> None:
        """Nothing to set up."""

    def start_weight_update(self) -> None:
        """Restore every layer to its checkpoint format."""
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: NamedTensors) -> None:
        """Load one bucket."""
        self.model.load_weights(update_info.weights)

    def finish_weight_update(self) -> None:
        """Pack the layers for the kernels again."""
        finalize_layerwise_reload(self.model, self.model_config)
        for module in self.model.modules():
            # With tied embeddings, vLLM 0.32 leaves the CPU output head packed from the old weights.
            if isinstance(module, ParallelLMHead) and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)

    def shutdown(self) -> None:
        """Nothing to release."""


def register() -> None:
    """Register the back-end with vLLM in this process; call before the engine is built."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, ObjectStoreTransfer)
