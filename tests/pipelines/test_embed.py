"""`bots embed`: one vector a prompt, in a file that a source joins by id."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModel

from bots import BOTS
from bots.config.pool import PoolConfig
from bots.lab.checkpoints import checkpoint_path
from bots.rollouts.templates import PromptEncoder
from pipelines.embed import _batches, main
from pipelines.shared.pool import build_pool

SIZE = 40


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file of a lab pool's embeddings, and the configuration's path."""
    folder = tmp_path_factory.mktemp("embed")
    config = folder / "pool.yaml"
    config.write_text(f'pool: {{sources: [{{kind: lab, size: {SIZE}}}]}}\nmodel: {{path: "lab:base"}}\n')
    assert main([str(config), "--out", str(folder / "new" / "vectors.parquet")]) == 0
    return folder / "new" / "vectors.parquet", config


def pool(**source):
    return build_pool(PoolConfig(sources=({"kind": "lab", "size": SIZE, **source},)))


def test_a_vector_is_the_mean_of_the_last_hidden_states_of_its_prompt_alone(written):
    table = pq.read_table(written[0])
    assert table["id"].to_pylist() == pool().table["id"].to_pylist()
    assert table.schema.metadata[b"model"] == b"lab:base"
    model = AutoModel.from_pretrained(checkpoint_path("base"), dtype=torch.float32).eval()
    for row in (0, 7, SIZE - 1):
        (ids,) = PromptEncoder(checkpoint_path("base")).encode([pool().table["prompt"][row].as_py()])
        with torch.inference_mode():
            alone = model(input_ids=torch.from_numpy(ids[None].astype(np.int64))).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(table["embedding"][row].as_py(), alone, rtol=2e-3, atol=2e-3)


def test_a_source_joins_it_and_selection_uses_it(written):
    embedded = pool(embeddings=str(written[0]))
    assert embedded.table.schema.field("embedding").type == pa.list_(pa.float32(), 96)
    wanted = np.stack(pq.read_table(written[0])["embedding"].to_numpy(zero_copy_only=False)).astype(
        np.float32
    )
    got = np.stack(embedded.table["embedding"].to_numpy(zero_copy_only=False))
    np.testing.assert_array_equal(got, wanted)
    for settings in (
        {"selector": "dots_similarity"},
        {"selector": "gps"},
        {"belief": "state_space", "belief_options": {"features": ["embedding"]}},
    ):
        bots = BOTS(embedded, **settings)
        bots.observe(bots.select(8), np.eye(8))
        assert len(bots.select(8)) == 8


def test_an_existing_file_stays(written, capsys):
    before = written[0].read_bytes()
    assert main([str(written[1]), "--out", str(written[0])]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([str(written[1]), "--out", str(written[0]), "--overwrite"]) == 0
    assert pq.read_table(written[0]).equals(pq.read_table(pa.BufferReader(before)))


def test_refusals_before_the_model_is_loaded(written, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pipelines.embed._means", None)
    (tmp_path / "alone.yaml").write_text("pool: {sources: [{kind: lab, size: 4}]}")
    out = ["--out", str(tmp_path / "x.parquet")]
    assert main([str(tmp_path / "alone.yaml"), *out]) == 2
    assert "--model" in capsys.readouterr().err
    assert main([str(written[1]), "--model", str(tmp_path / "nothing"), *out]) == 2
    assert "nothing" in capsys.readouterr().err
    words = " ".join(["1"] * 400)
    (tmp_path / "long.jsonl").write_text(f'{{"prompt": "{words}", "answer": "1", "grader": "exact"}}\n')
    (tmp_path / "long.yaml").write_text("pool: {sources: [long.jsonl]}")
    monkeypatch.chdir(tmp_path)
    assert main(["long.yaml", "--model", "lab:base", *out]) == 2
    assert "max_prompt_tokens" in capsys.readouterr().err
    assert not (tmp_path / "x.parquet").exists()


def test_a_pass_holds_no_more_tokens_than_it_may_unless_one_prompt_has_more(monkeypatch):
    monkeypatch.setattr("pipelines.embed.TOKENS", 100)
    lengths = [int(n) for n in np.random.default_rng(0).integers(1, 60, 200)] + [150, 170]
    batches = list(_batches(lengths))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= 100
