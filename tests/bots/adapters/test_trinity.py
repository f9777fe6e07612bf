"""Trinity-RFT's own reader, registry and operator with our selector in its configuration."""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

# Not beside vLLM: Trinity-RFT registers a plug-in of which every engine of ours would die (requirements/trinity.txt).
sys.path.insert(0, str(Path(sys.prefix) / "trinity"))
pytest.importorskip("trinity", reason="Trinity-RFT is not installed; `make peers` installs it")

import pyarrow.parquet as pq
from trinity.buffer.buffer import get_buffer_reader
from trinity.buffer.operators import EXPERIENCE_OPERATORS
from trinity.buffer.operators.mappers.pass_rate_calculator import PassRateCalculator
from trinity.buffer.selector import SELECTORS
from trinity.common.config import DataSelectorConfig, FormatConfig, TasksetConfig
from trinity.common.constants import SELECTOR_METRIC
from trinity.common.experience import Experience

from bots.adapters.trinity import BOTSSelector
from bots.lab.pool import lab_table

TRINITY = sys.path.pop(0)
N = 4
NAME = "bots.adapters.trinity.BOTSSelector"


@pytest.fixture(autouse=True)
def trinity_s_folder(monkeypatch):
    """What it imports only when asked."""
    monkeypatch.syspath_prepend(TRINITY)


def taskset(folder, size=60, **options):
    pq.write_table(lab_table(size, seed=3, anchors=True), folder / "train.parquet")
    selector = DataSelectorConfig(
        selector_type=NAME, feature_keys=["weak", "strong"], seed=0, kwargs={"rollouts": N, **options}
    )
    config = TasksetConfig(
        name="lab",
        path=str(folder),
        split="train",
        format=FormatConfig(prompt_key="prompt", response_key="answer"),
        default_workflow_type="math_workflow",
        data_selector=selector,
        batch_size=6,
        total_epochs=100,
    )
    return get_buffer_reader(config.to_storage_config() if hasattr(config, "to_storage_config") else config)


def rows_of(tasks):
    return [task.index["index"] for task in tasks]


def rewards_of(row):
    return [float(reward) for reward in np.random.default_rng(row).integers(0, 2, N)]


def run(reader, steps):
    """Read, answer with rewards that depend on the row alone, and report as Trinity's pipeline does."""
    read = []
    for _ in range(steps):
        tasks = asyncio.run(reader.read(batch_size=6))
        rows = rows_of(tasks)
        indices = [(row, reward) for row in rows for reward in rewards_of(row)]
        experiences = [
            Experience(
                tokens=[0, 1],
                prompt_length=1,
                reward=reward,
                info={"task_index": {"taskset_id": 0, "index": row}},
            )
            for row, reward in indices
        ]
        _, metrics = PassRateCalculator().process(experiences)
        reader.feedback(**metrics[SELECTOR_METRIC][0])
        read.append(rows)
    return read


def test_the_registry_finds_it_and_the_reader_reads_what_it_selects(tmp_path):
    assert SELECTORS.get(NAME) is BOTSSelector
    reader = taskset(tmp_path)
    read = run(reader, 3)
    bots = reader.reader.selector.curriculum.bots
    observed = bots.table()["observations"].to_numpy()
    assert sorted(row for rows in read for row in rows) == sorted(np.repeat(np.arange(60), observed).tolist())
    # Means of groups of 0 and 1 are the groups themselves.
    assert bots.metrics()["batch/etr"] == np.mean([len(set(rewards_of(row))) > 1 for row in read[-1]])
    assert bots.metrics()["batch/mean"] == np.mean([rewards_of(row) for row in read[-1]])


def test_a_resumed_explorer_keeps_its_posterior(tmp_path):
    straight, saved, fresh = (taskset(tmp_path) for _ in range(3))
    run(straight, 2)
    run(saved, 2)
    fresh.load_state_dict({"current_index": 0})  # what Trinity does where there is no checkpoint
    fresh.load_state_dict(json.loads(json.dumps(saved.state_dict())))
    assert run(fresh, 2) == run(straight, 2)
    with pytest.raises(ValueError, match="of another selector"):
        fresh.load_state_dict({"current_index": 12})


def test_the_page_names_what_is_there():
    page = (
        (Path(__file__).parents[3] / "docs/adapters.md")
        .read_text()
        .split("## Trinity-RFT")[1]
        .split("## ")[0]
    )
    tree = yaml.safe_load("\n".join(line[4:] for line in page.splitlines() if line.startswith("    ")))
    (taskset,) = tree["buffer"]["explorer_input"]["tasksets"]
    selector = DataSelectorConfig(**taskset["data_selector"])
    assert SELECTORS.get(selector.selector_type) is BOTSSelector
    (operator,) = tree["data_processor"]["experience_pipeline"]["operators"]
    assert EXPERIENCE_OPERATORS.get(operator["name"]) is PassRateCalculator


def test_configurations_that_cannot_be_meant(tmp_path):
    with pytest.raises(ValueError, match="no column 'pass_rate'"):
        taskset(tmp_path, level="pass_rate")
    with pytest.raises(ValueError, match="rollouts is 0"):
        taskset(tmp_path, rollouts=0)
