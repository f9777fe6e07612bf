"""Chat templates on the lab's tokenizer, which is real and needs no download."""

import numpy as np
import pytest

from bots.lab.tokenizer import build_tokenizer
from bots.rollouts.templates import PromptEncoder, TemplateError, prompt_text

MESSAGES = [{"role": "system", "content": "1+1="}, {"role": "user", "content": "2+3="}]


@pytest.fixture
def tokenizer():
    return build_tokenizer()


def test_the_tokenizers_own_template_and_one_given(tokenizer, tmp_path):
    assert PromptEncoder(tokenizer).render(MESSAGES) == "<bos>1+1=2+3="
    template = (
        "{% for m in messages %}({{ m.content }}){% endfor %}{% if add_generation_prompt %}>{% endif %}"
    )
    assert PromptEncoder(tokenizer, template).render(MESSAGES) == "(1+1=)(2+3=)>"
    (tmp_path / "t.jinja").write_text(template)
    assert PromptEncoder(tokenizer, str(tmp_path / "t.jinja")).render("5=") == "(5=)>"


def test_special_tokens_come_once(tokenizer):
    by_template = PromptEncoder(tokenizer).encode(["2+3="])[0]
    plain = PromptEncoder(tokenizer, "plain").encode(["2+3="])[0]
    assert by_template.dtype == np.int32
    np.testing.assert_array_equal(by_template, plain)
    assert list(by_template).count(tokenizer.bos_token_id) == 1
    np.testing.assert_array_equal(PromptEncoder(tokenizer).lengths(["2+3=", "2="]), [5, 3])


def test_a_tokenizer_without_a_template_is_refused_with_the_way_out(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(TemplateError, match=r"no chat template; set the pool's `template`"):
        PromptEncoder(tokenizer)
    assert PromptEncoder(tokenizer, "plain").render(MESSAGES) == "1+1=\n\n2+3="


def test_a_template_that_is_no_file_or_that_refuses(tokenizer):
    with pytest.raises(TemplateError, match=r"'chat\.jinja' is neither a file nor a Jinja template"):
        PromptEncoder(tokenizer, "chat.jinja")
    strict = "{{ raise_exception('no system role') if messages[0].role == 'system' else 'x' }}"
    assert PromptEncoder(tokenizer, strict).render("a") == "x"
    with pytest.raises(TemplateError, match=r"roles \['system', 'user'\]: no system role"):
        PromptEncoder(tokenizer, strict).render(MESSAGES)


def test_what_a_grader_gets_as_the_prompt():
    assert prompt_text("5=") == "5="
    assert prompt_text(MESSAGES) == "2+3="
