"""GPUs of one engine share a model evenly, or the configuration is refused."""

import pytest
from transformers import Qwen2Config

from bots.config.tree import ConfigError
from pipelines.shared.engine_check import check_engines

QWEN_7B = {
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
}
QWEN_1_5B = {
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "hidden_size": 1536,
    "intermediate_size": 8960,
}


@pytest.mark.parametrize(("shape", "possible"), [(QWEN_7B, [1, 2, 4]), (QWEN_1_5B, [1, 2, 4])])
def test_the_gpus_of_an_engine_share_heads_and_layers(small_job, shape, possible):
    architecture = Qwen2Config(vocab_size=151_936, **shape)
    for gpus in range(1, 9):
        config = small_job(f"rollout.gpus={gpus}")
        if gpus in possible:
            check_engines(config, architecture)
            continue
        with pytest.raises(
            ConfigError, match=f"rollout.gpus is {gpus}, .*; set it to 1 or 2 or 4, and start"
        ):
            check_engines(config, architecture)
