import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, Qwen2Config, Qwen2ForCausalLM

from bots.learning.logprobs import LogprobHead, Wanted, completion_logprobs, install_head
from bots.learning.losses import token_logprobs

TOKENS, WIDTH, VOCABULARY = 50, 32, 1000


def tensors(dtype):
    torch.manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH).to(dtype).requires_grad_()
    weight = (torch.randn(VOCABULARY, WIDTH) / 5).to(dtype).requires_grad_()
    bias = torch.randn(VOCABULARY).to(dtype).requires_grad_()
    return [hidden, weight, bias], torch.randint(0, VOCABULARY, (TOKENS,)), torch.randn(TOKENS)


def plain(inputs, targets):
    return token_logprobs(torch.nn.functional.linear(*inputs)[None], targets[None], 0.7)[0]


@pytest.mark.parametrize("kept", [0, 70_000, 2**30])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 5e-3)])
def test_blocks_give_the_values_and_gradients_of_the_plain_form(dtype, tolerance, kept):
    inputs, targets, upstream = tensors(dtype)
    # 77 does not divide the vocabulary: the last block is short.
    hidden, weight, bias = inputs
    found = completion_logprobs(hidden, weight, targets, 0.7, bias, 4 * TOKENS * 77, kept)
    expected = plain(inputs, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    one = torch.autograd.grad((found * upstream).sum(), inputs)
    other = torch.autograd.grad((expected * upstream).sum(), inputs)
    for mine, theirs in zip(one, other, strict=True):
        assert (mine - theirs).norm() / theirs.norm() < tolerance


def test_gradients_that_nobody_needs_are_not_computed():
    (hidden, weight, _), targets, _ = tensors(torch.float32)
    completion_logprobs(hidden, weight.detach(), targets, 1.0).sum().backward()
    assert hidden.grad is not None
    frozen = completion_logprobs(hidden.detach(), weight.detach(), targets, 1.0)
    assert not frozen.requires_grad


def test_no_completion_at_all_still_reaches_the_parameters():
    (hidden, weight, _), targets, _ = tensors(torch.float32)
    completion_logprobs(hidden[:0], weight, targets[:0], 1.0).sum().backward()
    assert weight.grad.abs().sum() == 0


def test_a_head_keeps_names_and_ties_and_gives_logits_when_nothing_is_wanted():
    config = Qwen2Config(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config).eval()
    names = [name for name, _ in model.named_parameters()]
    ids = torch.randint(0, 50, (2, 6))
    before = model(input_ids=ids).logits
    head = install_head(model)
    assert isinstance(head, LogprobHead)
    assert [name for name, _ in model.named_parameters()] == names
    assert head.weight is model.get_input_embeddings().weight
    assert torch.equal(model(input_ids=ids).logits, before)
    head.wanted = Wanted(torch.tensor([1, 9]), ids.flatten()[[2, 10]], 1.0)
    expected = torch.log_softmax(before, -1)[[0, 1], [1, 3], ids[[0, 1], [2, 4]]]
    torch.testing.assert_close(model(input_ids=ids).logits, expected)


def test_a_model_that_caps_its_logits_keeps_its_own_head():
    config = Gemma2Config(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    assert config.final_logit_softcapping
    assert install_head(Gemma2ForCausalLM(config)) is None
