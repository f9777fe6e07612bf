import json

import numpy as np
import pytest
import torch

from bots.lab.checkpoints import FOLDER, NAMES, checkpoint_path, load
from bots.lab.measure import by_level, pass_rates
from bots.lab.model import build_model
from bots.lab.pool import lab_table
from bots.lab.supervised import level_shares, train
from bots.lab.tokenizer import build_tokenizer


def test_all_checkpoints_together_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 2_000_000


def test_an_unknown_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown lab checkpoint 'best', there are weak, base, strong"):
        checkpoint_path("best")


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_loaded_in_float32_and_knows_its_special_tokens(name: str) -> None:
    model, tokenizer = load(checkpoint_path(name))
    assert model.dtype == torch.float32
    assert len(tokenizer) == model.config.vocab_size
    assert model.config.tie_word_embeddings
    for token in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert (
            getattr(model.config, token)
            == getattr(tokenizer, token)
            == getattr(model.generation_config, token)
        )


@pytest.mark.slow
def test_weak_base_and_strong_are_what_their_names_say() -> None:
    table = lab_table(228, seed=11, split="eval")
    rates = {name: pass_rates(*load(checkpoint_path(name)), table, samples=4, seed=0) for name in NAMES}
    means = {name: float(values.mean()) for name, values in rates.items()}
    assert means["weak"] + 0.03 < means["base"] < means["strong"] - 0.03, means
    # Room for reinforcement on both sides of what the base model can do.
    assert np.mean(rates["base"] == 0) > 0.2
    assert 0.3 < means["base"] < 0.6
    levels = by_level(table, rates["base"])
    assert all(by[0] > 0.6 and by[-1] < 0.15 for by in levels.values()), levels
    recorded = json.loads((FOLDER / "prepared.json").read_text())["measured"]
    for name in NAMES:
        assert means[name] == pytest.approx(recorded[name]["pass_rate"], abs=0.06)


@pytest.mark.slow
def test_supervised_training_goes_on_from_the_weak_checkpoint() -> None:
    model, tokenizer = load(checkpoint_path("weak"))
    losses = [
        loss for _, loss, _ in train(model, tokenizer, steps=20, seed=5, learning_rate=2e-3, batch_size=64)
    ]
    assert np.mean(losses[-10:]) < 0.2
    assert all(np.isfinite(losses))


@pytest.mark.slow
def test_supervised_training_from_nothing_learns_the_easiest_levels() -> None:
    """A reduced run of the preparation: two families, their two easiest levels."""
    model, tokenizer = build_model(0), build_tokenizer()
    shares = {"logic": np.array([0.5, 0.5]), "code": np.array([0.5, 0.5])}
    steps = list(train(model, tokenizer, steps=250, seed=0, shares=shares, batch_size=64))
    losses, averaged = [loss for _, loss, _ in steps], steps[-1][2]
    table = lab_table(80, seed=0, domains=("logic", "code"), levels=(1, 2), split="eval")
    rates = by_level(table, pass_rates(averaged, tokenizer, table, samples=4, seed=0))
    assert losses[0] > 3.0
    assert np.mean(losses[-10:]) < 0.3
    assert rates["code"][0] > 0.8
    assert rates["logic"][0] > 0.5


def test_supervised_training_is_deterministic() -> None:
    weights = []
    for _ in range(2):
        model = build_model(3)
        for _ in train(model, build_tokenizer(), steps=2, seed=4, batch_size=16):
            pass
        weights.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    assert torch.equal(*weights)


def test_supervised_training_shows_the_levels_it_should() -> None:
    shares = level_shares()
    assert list(shares) == ["math", "logic", "code"]
    for share in shares.values():
        assert share.sum() == pytest.approx(1.0)
        assert (np.diff(share) <= 0).all()
