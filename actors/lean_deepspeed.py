"""DeepSpeed without what a learner has no use for: less to load, and nothing to compile."""

import logging

from actors.loading import loading

# Its autotuner would import MLflow wherever that is installed: a second of each rank's start.
with loading(without=["mlflow"]):
    import deepspeed

# DeepSpeed would build a shared-memory collective with a C++ compiler, 20 s and 69 MB a rank; gloo serves.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
logging.getLogger("DeepSpeed").setLevel(logging.WARNING)

__all__ = ["deepspeed"]
