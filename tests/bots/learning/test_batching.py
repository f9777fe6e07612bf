import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.learning.batching import make_rank_batches
from bots.rollouts.rollout import Group, Rollout


def group(row, prompt, lengths, rewards):
    rollouts = [
        Rollout(
            np.arange(100 * row, 100 * row + n, dtype=np.int32),
            -np.ones(n, np.float32),
            "",
            True,
            0,
            "c0ffee",
        )
        for n in lengths
    ]
    return Group(row, np.full(prompt, 7, np.int32), rollouts, np.array(rewards, float))


@settings(deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(1, 30), min_size=2, max_size=5), min_size=1, max_size=6),
    ranks=st.integers(1, 4),
    budget=st.integers(40, 200),
)
def test_every_answer_token_is_learnt_from_exactly_once(lengths, ranks, budget):
    groups = [group(i, 9, n, [1.0] + [0.0] * (len(n) - 1)) for i, n in enumerate(lengths)]
    shards = make_rank_batches(groups, "grpo", ranks, budget, max_tokens=30)
    counts = {len(shard.micro_batches) for shard in shards}
    assert len(shards) == ranks
    assert len(counts) == 1, "collectives need the same number of micro-batches on every rank"
    seen = []
    for micro_batch in (m for shard in shards for m in shard.micro_batches):
        assert micro_batch.token_ids.size <= budget
        rows, columns = np.nonzero(micro_batch.mask)
        seen += micro_batch.token_ids[rows, columns + 1].tolist()
        assert (micro_batch.sampler_logprobs[rows, columns] == -1).all()
        assert (micro_batch.token_ids[:, 8] == 7).all(), "the prompt comes first"
    expected = [t for g in groups for r in g.rollouts for t in r.token_ids.tolist()]
    assert sorted(seen) == sorted(expected)
    assert shards[0].scale.tokens == len(expected)


def test_groups_with_equal_rewards_cost_no_work_but_count_in_the_mean():
    groups = [group(0, 3, [4, 4], [1.0, 1.0]), group(1, 3, [5, 5], [1.0, 0.0])]
    (shard,) = make_rank_batches(groups, "grpo", 1, 1000, max_tokens=30)
    assert shard.micro_batches[0].token_ids.shape == (2, 8)
    assert (shard.scale.samples, shard.scale.tokens) == (4, 18)


def test_a_penalty_is_borne_by_every_answer():
    groups = [group(0, 3, [4, 4], [1.0, 1.0]), group(1, 3, [5, 5], [1.0, 0.0])]
    (shard,) = make_rank_batches(groups, "grpo", 1, 1000, max_tokens=30, penalised=True)
    (micro_batch,) = shard.micro_batches
    assert micro_batch.mask.sum() == shard.scale.tokens == 18
    assert sorted(np.sign(micro_batch.advantages)) == [-1, 0, 0, 1]
    shards = make_rank_batches(groups[:1], "grpo", 2, 1000, max_tokens=30, penalised=True)
    assert [len(shard.micro_batches) for shard in shards] == [1, 1]


def test_a_batch_without_signal_has_no_micro_batches():
    shards = make_rank_batches([group(0, 3, [4, 4], [0.0, 0.0])], "grpo", 2, 1000, max_tokens=30)
    assert [shard.micro_batches for shard in shards] == [[], []]


def test_more_ranks_than_answers_get_an_empty_share_of_the_same_shape():
    shards = make_rank_batches([group(0, 3, [4, 6], [0.0, 1.0])], "grpo", 3, 1000, max_tokens=30)
    spare = shards[2].micro_batches[0]
    assert spare.mask.sum() == 0
    assert spare.advantages.tolist() == [0.0]


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="ppo"):
        make_rank_batches([group(0, 3, [4, 6], [0.0, 1.0])], "ppo", 1, 1000, max_tokens=30)
