"""DeepSpeed without the parts that the learner does not use: fewer imports, and nothing to compile."""

import logging

from actors.loading import loading

# Its autotuner imports MLflow if it is installed, which costs each rank a second.
with loading(without=["mlflow"]):
    import deepspeed

# DeepSpeed would compile a shared-memory collective, 20 s and 69 MB per rank; gloo is enough.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
logging.getLogger("DeepSpeed").setLevel(logging.WARNING)

__all__ = ["deepspeed"]
