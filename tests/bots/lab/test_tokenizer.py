from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from bots.lab.families import FAMILIES
from bots.lab.tokenizer import CHARACTERS, VOCABULARY, build_tokenizer


@pytest.fixture(params=["built", "loaded"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> PreTrainedTokenizerBase:
    built = build_tokenizer()
    if request.param == "built":
        return built
    built.save_pretrained(tmp_path)
    return AutoTokenizer.from_pretrained(tmp_path)


def test_text_comes_back_exactly(tokenizer: PreTrainedTokenizerBase) -> None:
    rng = np.random.default_rng(0)
    texts = [CHARACTERS, "".join(CHARACTERS[i] for i in rng.integers(len(CHARACTERS), size=80))]
    for family in FAMILIES.values():
        problem = family.sample(3, rng)
        texts.append(problem.prompt + problem.solution)
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert ids == [VOCABULARY["<bos>"], *(VOCABULARY[character] for character in text)]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert tokenizer.decode(ids[1:]) == text


def test_special_tokens_in_a_text_are_one_token_each(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer("1=2<eos>")["input_ids"][-1] == tokenizer.eos_token_id == VOCABULARY["<eos>"]
    assert tokenizer.bos_token_id == VOCABULARY["<bos>"]
    assert tokenizer.pad_token_id == VOCABULARY["<pad>"]


def test_a_foreign_character_is_unknown_and_not_dropped(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer("1 é=")["input_ids"].count(tokenizer.unk_token_id) == 2


def test_padding_is_on_the_left_for_generation(tokenizer: PreTrainedTokenizerBase) -> None:
    batch = tokenizer(["1=", "1+2="], padding=True)
    assert batch["input_ids"][0][:2] == [tokenizer.pad_token_id] * 2
    assert batch["attention_mask"][0] == [0, 0, 1, 1, 1]


def test_a_conversation_is_encoded_like_the_plain_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = [{"role": "user", "content": "1+2="}]
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert ids == tokenizer("1+2=")["input_ids"]
