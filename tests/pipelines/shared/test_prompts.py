"""Templates that omit the task are found before an engine starts, not by dropped groups at every step."""

import pyarrow as pa
import pytest

from bots.lab.tokenizer import build_tokenizer
from bots.pool import PoolError, TaskPool
from pipelines.shared.prompts import encode


def pool_of(*prompts):
    return TaskPool.from_arrow(pa.table({"prompt": list(prompts)}))


def test_a_prompt_that_is_rendered_to_nothing_is_refused():
    template = "{% for m in messages %}{% if '9' in m.content %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(
        PoolError, match=r"prompt of row 1 .* has no token: the chat template renders it to nothing"
    ):
        encode(pool_of("9+1=", "1+1="), build_tokenizer(), template, 100)
    assert len(encode(pool_of("9+1=", "1+9="), build_tokenizer(), template, 100).prompts) == 2


@pytest.mark.parametrize("template", ["{% if false %}{{ messages }}{% endif %}", "{{ '' }}"])
def test_a_template_that_renders_nothing_at_all_is_refused(template):
    with pytest.raises(PoolError, match=r"has no token|leaves the task out"):
        encode(pool_of("1+1="), build_tokenizer(), template, 100)


def test_a_template_that_renders_every_prompt_alike_is_refused():
    with pytest.raises(PoolError, match=r"renders 2 prompts alike, as '<bos>1': it leaves the task out"):
        encode(pool_of("9+1=", "1+1="), build_tokenizer(), "{{ bos_token }}1", 100)
    assert len(encode(pool_of("1+1=", "1+1="), build_tokenizer(), None, 100).prompts) == 2
