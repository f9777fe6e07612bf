"""DeepSpeed without the parts that the learner does not use: fewer imports, and nothing to compile."""

import logging
from datetime import timedelta

import torch.distributed as dist

from actors.loading import loading

# Its autotuner imports MLflow if it is installed, which costs each rank a second.
with loading(without=["mlflow"]):
    import deepspeed

# DeepSpeed would compile a shared-memory collective, 20 s and 69 MB per rank; gloo is enough.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
logging.getLogger("DeepSpeed").setLevel(logging.WARNING)

__all__ = ["deepspeed", "limit_collectives"]


def limit_collectives(seconds: float) -> None:
    """Limit how long a collective of DeepSpeed may take, before its engine is made; all ranks call it together.

    Ranks exchange gradients in a group of DeepSpeed's own. It would have torch's limit of half an hour, whatever the
    limit of the group that it is a copy of.
    """
    deepspeed.init_distributed(verbose=False)
    group = deepspeed.utils.groups._clone_world_group()
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=seconds), group)
