from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from bots.lab.checkpoints import checkpoint_path
from bots.rollouts.stops import EndOfTurn, end_of_turn, ending_tokens
from bots.rollouts.templates import PromptEncoder

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_2 = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
HEADERS = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"
ONE_QUESTION = (
    "{% if messages | length > 1 %}{{ raise_exception('one only') }}{% endif %}{{ messages[0].content }}"
)

ONE_ANSWER = "{% if messages | length > 2 %}{{ raise_exception('one answer') }}{% endif %}" + CHATML


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = AutoTokenizer.from_pretrained(str(checkpoint_path("base")))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


def test_the_token_that_a_template_writes_after_an_assistants_turn(tokenizer):
    found = end_of_turn(PromptEncoder(tokenizer, CHATML))
    assert tokenizer.convert_ids_to_tokens(found.token) == "<|im_end|>"
    # After a space.
    assert end_of_turn(PromptEncoder(tokenizer, LLAMA_2)).token == tokenizer.eos_token_id


def test_a_template_for_one_answer_only_has_an_end_too(tokenizer):
    found = end_of_turn(PromptEncoder(tokenizer, ONE_ANSWER))
    assert tokenizer.convert_ids_to_tokens(found.token) == "<|im_end|>"


def test_a_template_that_ends_a_turn_with_text_has_no_such_token(tokenizer):
    found = end_of_turn(PromptEncoder(tokenizer, HEADERS))
    assert found.token is None
    assert found.text.startswith("### user")


@pytest.mark.parametrize("template", ["plain", ONE_QUESTION])
def test_without_a_template_for_turns_there_is_no_end(tokenizer, template):
    assert end_of_turn(PromptEncoder(tokenizer, template)) == EndOfTurn()


def test_an_engine_ends_by_the_tokenizers_and_the_models_tokens():
    tokenizer = SimpleNamespace(eos_token_id=2)
    assert ending_tokens(tokenizer, None) == {2}
    assert ending_tokens(tokenizer, SimpleNamespace(eos_token_id=[7, 8])) == {2, 7, 8}
    assert ending_tokens(SimpleNamespace(eos_token_id=None), SimpleNamespace(eos_token_id=5)) == {5}
