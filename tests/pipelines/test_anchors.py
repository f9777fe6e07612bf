"""The anchors job on the lab's real models: run, stopped, resumed, refused, and through an endpoint."""

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from rich.console import Console

from actors.reference import EndpointError
from bots.config.tree import ConfigError, parse_config
from bots.sources import PoolConfig, read_pool
from pipelines.anchoring.config import AnchorsConfig
from pipelines.anchoring.plot import correlation, draw
from pipelines.anchors import load_anchors_config, main, measure_anchors
from pipelines.shared.resources import ResourceError
from tests.waiting import wait_for

pytestmark = pytest.mark.ray

LAB = {"kind": "lab", "size": 24, "seed": 5, "anchors": None, "domains": ["math"]}
ROLLOUT = {"samples": 4, "max_tokens": 64, "max_model_len": 128, "dtype": "float32", "cpus": 0.5}
QUIET = Console(quiet=True)


def config_of(folder, **sections) -> AnchorsConfig:
    tree = {
        "run": {"name": "job", "folder": str(folder), "block": 8},
        "pool": {"sources": [LAB]},
        "weak": {"path": "lab:weak"},
        "strong": {"path": "lab:strong"},
        "rollout": ROLLOUT,
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section} if name in ("run", "rollout") else section
    return parse_config(AnchorsConfig, tree, "test")


@pytest.mark.slow
def test_the_lab_is_measured_by_a_killed_job_and_its_successor(cluster, tmp_path):
    """A subset: kill -9 in the middle and resume; finished blocks are not touched again."""
    tree = config_of(tmp_path, run={"subset": 20}).model_dump(mode="json")
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(tree))
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    job = subprocess.Popen(
        [sys.executable, "-m", "pipelines.anchors", str(file)], env=environment, start_new_session=True
    )
    first = tmp_path / "job" / "blocks" / "weak"

    def a_block_is_done():
        assert job.poll() is None, "the job ended before its first block"
        return list(first.glob("*.parquet"))

    wait_for(a_block_is_done, "the first block", every=0.05)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    before = {path: path.stat().st_mtime_ns for path in first.glob("*.parquet")}
    assert before
    summary = measure_anchors(load_anchors_config(file), console=QUIET)
    assert {path: path.stat().st_mtime_ns for path in before} == before

    pool = pq.read_table(tmp_path / "job" / "pool.parquet")
    assert pool.num_rows == 24
    assert pool["weak"].null_count == pool["strong"].null_count == 4  # unknown, not 0
    anchors = pq.read_table(tmp_path / "job" / "anchors.parquet")
    assert anchors.column_names == ["id", "weak", "strong"]
    assert anchors.num_rows == 20
    rates = anchors["weak"].to_numpy()
    assert set(np.unique(rates * 4)) <= {0, 1, 2, 3, 4}
    assert summary["weak"]["ungraded_answers"] == 0
    assert 0 < summary["weak"]["mean"] < 1
    assert (tmp_path / "job" / "anchors.png").read_bytes().startswith(b"\x89PNG")

    # Its output is a source, and an anchors file for the original pool.
    again = {"kind": "parquet", "path": str(tmp_path / "job" / "pool.parquet")}
    joined = {**LAB, "anchors": str(tmp_path / "job" / "anchors.parquet")}
    for source in (again, joined):
        read = read_pool(PoolConfig.model_validate({"sources": [source]}))
        np.testing.assert_array_equal(read.weak, pool["weak"].to_numpy())
    # Running the same job again has nothing to do and returns the same.
    assert measure_anchors(load_anchors_config(file), console=QUIET)["weak"] == summary["weak"]


class Server(ThreadingHTTPServer):
    """Speaks chat completions: knows the sums, returns at most three choices, refuses every fifth request once."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.count, self.keys = threading.Lock(), 0, set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.count += 1
            self.server.keys.add(self.headers.get("Authorization"))
            busy = self.server.count % 5 == 0
        if body["model"] == "missing":
            return self.reply(404, {"error": "no such model"})
        if busy:
            return self.reply(429, {"error": "too many requests"})
        prompt = body["messages"][-1]["content"]
        right = str(sum(int(part) for part in prompt.rstrip("=").split("+")))
        texts = [right if (body["seed"] + i) % 2 else "no idea" for i in range(min(3, body["n"]))]
        choices = [{"message": {"role": "assistant", "content": text}} for text in texts]
        return self.reply(200, {"choices": choices, "usage": {"completion_tokens": len(texts)}})

    def reply(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        return


@pytest.fixture
def server():
    with Server() as running:
        yield running
        running.shutdown()


@pytest.fixture
def sums(tmp_path):
    rows = [{"prompt": f"{n}+1=", "answer": str(n + 1)} for n in range(20)]
    rows[3]["answer"] = "never this"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "sums.parquet")
    return {"sources": [{"kind": "parquet", "path": str(tmp_path / "sums.parquet"), "grader": "exact"}]}


def endpoint(server, model="m", **settings):
    return {"endpoint": {"url": server.url, "model": model, "parallel": 4, **settings}}


def test_an_endpoint_in_place_of_a_model(cluster, tmp_path, server, sums, monkeypatch):
    monkeypatch.setenv("BOTS_TEST_KEY", "secret")
    asked = endpoint(server, key_variable="BOTS_TEST_KEY")
    config = config_of(tmp_path, pool=sums, weak=asked, strong=asked)
    summary = measure_anchors(config, console=QUIET)
    table = pq.read_table(tmp_path / "job" / "pool.parquet")
    rates = table["weak"].to_numpy()
    # Four completions each, with consecutive seeds: two are right, none for the impossible task.
    np.testing.assert_array_equal(rates, np.where(np.arange(20) == 3, 0, 0.5).astype(np.float32))
    assert summary["weak"]["tokens"] == 80
    assert server.keys == {"Bearer secret"}
    assert "secret" not in (tmp_path / "job" / "config.yaml").read_text()


def test_an_endpoint_that_refuses_stops_the_job_with_its_words(cluster, tmp_path, server, sums):
    asked = endpoint(server, model="missing")
    with pytest.raises(EndpointError, match=r"model 'missing', after 1 tries: HTTP 404: .*no such model"):
        measure_anchors(config_of(tmp_path, pool=sums, weak=asked, strong=asked), console=QUIET)
    keyless = {"endpoint": {"url": server.url, "model": "m", "key_variable": "BOTS_NOT_SET"}}
    with pytest.raises(ConfigError, match=r"BOTS_NOT_SET .* is not set"):
        measure_anchors(config_of(tmp_path, pool=sums, weak=keyless, strong=keyless), console=QUIET)


def test_a_grader_that_fails_leaves_the_rate_unknown_and_is_shown(cluster, tmp_path, server, sums):
    # The lab's code grader raises on an answer that is not a list of tests.
    source = sums["sources"][0]
    table = pq.read_table(source["path"])
    graders = ["lab_code" if answer == "never this" else "exact" for answer in table["answer"].to_pylist()]
    pq.write_table(table.append_column("grader", pa.array(graders)), source["path"])
    source["grader"] = None
    asked = endpoint(server)
    summary = measure_anchors(config_of(tmp_path, pool=sums, weak=asked, strong=asked), console=QUIET)
    rates = pq.read_table(tmp_path / "job" / "pool.parquet")["weak"]
    assert rates[3].as_py() is None
    assert rates.null_count == 1
    assert summary["weak"]["ungraded_answers"] == 4
    assert "lab_code" in summary["weak"]["first_failure"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"weak": {}}, "weak: a reference model needs either a path or an endpoint"),
        ({"strong": {"path": "runs/not/there"}}, "strong: model.path: there is no folder runs/not/there"),
        ({"strong": {"path": str(Path(__file__).parent)}}, "strong: model.path '.*' cannot be loaded"),
        ({"weak": {"path": "lab:weaker"}}, "weak: model.path: unknown lab checkpoint 'weaker'"),
        ({"run": {"subset": 25}}, "run.subset is 25, but the pool has only 24 tasks"),
        ({"rollout": {"max_tokens": 128}}, "there is no room for a prompt"),
        (
            {"rollout": {"max_tokens": 126}},
            "the prompt of task lab/math/.* has .* tokens; at most 2 leave room",
        ),
        ({"run": {"blocks": 3}}, "run.blocks: no such key"),
    ],
)
def test_what_cannot_work_is_refused_before_an_engine_starts(tmp_path, sections, message):
    with pytest.raises(ConfigError, match=message):
        measure_anchors(config_of(tmp_path, **sections), console=QUIET)
    assert not (tmp_path / "job").exists()


def test_an_engine_that_the_cluster_has_no_room_for_is_refused(cluster, tmp_path):
    with pytest.raises(
        ResourceError, match=r"asks for 99 CPU = 1 x 99 \(reference engine\).*Lower rollout.cpus"
    ):
        measure_anchors(config_of(tmp_path, rollout={"cpus": 99}), console=QUIET)


def test_another_job_in_the_folder_is_not_mixed_with_this_one(cluster, tmp_path, server, sums):
    asked = endpoint(server)
    measure_anchors(config_of(tmp_path, pool=sums, weak=asked, strong=asked), console=QUIET)
    with pytest.raises(ConfigError, match="a job with another `rollout` section"):
        measure_anchors(
            config_of(tmp_path, pool=sums, weak=asked, strong=asked, rollout={"samples": 8}), console=QUIET
        )
    path = sums["sources"][0]["path"]
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(ConfigError, match="the pool has other tasks"):
        measure_anchors(config_of(tmp_path, pool=sums, weak=asked, strong=asked), console=QUIET)


def test_the_command_refuses_with_status_2(tmp_path, capsys):
    assert main([str(tmp_path / "none.yaml")]) == 2
    assert "no such configuration file" in capsys.readouterr().err


def test_correlations_against_scipy(tmp_path):
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    weak = rng.binomial(16, rng.random(300)).astype(np.float32) / 16
    strong = np.clip(weak + rng.normal(0.2, 0.2, 300), 0, 1).astype(np.float32)
    said = draw(weak, strong, ["a", "b"] * 150, tmp_path / "x.png")
    assert said["correlation"] == pytest.approx(scipy_stats.pearsonr(weak, strong).statistic, abs=1e-6)
    assert said["rank_correlation"] == pytest.approx(scipy_stats.spearmanr(weak, strong).statistic, abs=1e-6)
    assert correlation(np.ones(3), np.arange(3.0)) is None
