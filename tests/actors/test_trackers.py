"""Metrics outside the run's folder: the gauges as Prometheus scrapes them, and the trackers' own packages."""

import importlib.util
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.request import urlopen

import pytest

from actors import trackers as trackers_module
from actors.journal import Journal
from actors.trackers import open_trackers, passing_on, require, tracker_variables
from actors.trackers.gauges import gauge_of
from actors.trackers.mlflow_run import MLflow
from actors.trackers.passing_on import Trackers
from actors.trackers.wandb_run import WeightsAndBiases

CONFIG = {"run": {"name": "mine", "steps": 3}, "selection": {"lam": 0.1}}
RECORD = {
    "step": 3,
    "etr": 0.25,
    "score": 0.5,
    "score/math": 0.75,
    "seconds/learn": 2.0,
    "weights": "abc",
    "loss": float("nan"),
    "beliefs/pool": [1, 2],
}


class Broken:
    def log(self, step, figures):
        raise ConnectionError("the server is away")

    def close(self):
        raise ConnectionError("the server is away")


class Kept:
    def __init__(self):
        self.seen = []

    def log(self, step, figures):
        self.seen.append((step, figures))

    def close(self):
        pass


def test_a_tracker_that_fails_ends_nothing_and_is_counted():
    kept = Kept()
    trackers = Trackers([Broken(), kept])
    trackers.log(RECORD)
    trackers.log(RECORD | {"step": 4})
    trackers.close()
    assert trackers.failed == 3
    assert [step for step, _ in kept.seen] == [3, 4]
    assert set(kept.seen[0][1]) == {"etr", "score", "score/math", "seconds/learn"}, "finite numbers only"


class Late(Kept):
    """A tracker whose server is down for the first two attempts to open it."""

    openings = 0

    def __init__(self, name, folder, config):
        super().__init__()
        type(self).openings += 1
        if self.openings < 3:
            raise ConnectionError("the server is away")
        type(self).instance = self

    @staticmethod
    def check():
        return


def test_a_tracker_that_cannot_be_opened_ends_nothing_and_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers_module, "KINDS", {"json": Late})
    monkeypatch.setattr(passing_on, "REOPEN_SECONDS", 0.0)
    journal = Journal.__ray_metadata__.modified_class(str(tmp_path), ["json"], CONFIG)
    journal.trackers._trackers = []  # without Ray there are no gauges
    for step in (1, 2, 3):
        journal.write({"step": step, "etr": 0.5})
    assert [step for step, _ in Late.instance.seen] == [2, 3]
    assert [record.get("trackers_failed") for record in journal.records] == [1, 2, 2]
    monkeypatch.setattr(passing_on, "REOPEN_SECONDS", 60.0)
    Late.openings = 0
    again = Journal.__ray_metadata__.modified_class(str(tmp_path), ["json"], CONFIG)
    again.trackers._trackers = []
    again.write({"step": 4, "etr": 0.5})
    assert Late.openings == 1, "it may take long to find a server away: not at every step"


def test_the_journal_has_the_driver_s_settings_of_the_trackers(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://192.0.2.1")
    told = tracker_variables()
    assert {"WANDB_PROJECT": "mine", "MLFLOW_TRACKING_URI": "http://192.0.2.1"}.items() <= told.items()
    assert all(name.startswith(("WANDB_", "MLFLOW_")) for name in told)
    monkeypatch.delenv("WANDB_PROJECT")
    Journal.__ray_metadata__.modified_class(str(tmp_path), [], CONFIG, told)
    assert os.environ["WANDB_PROJECT"] == "mine"
    monkeypatch.delenv("WANDB_PROJECT")


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_unknown_and_missing_trackers_are_refused(name, monkeypatch):
    with pytest.raises(ValueError, match="can hold wandb, mlflow"):
        require(["comet"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'bots-rft\[trackers\]'"):
        require([name])


def test_a_tracker_that_nobody_is_signed_in_to_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    with pytest.raises(ValueError, match=r"no key for wandb\.example.*wandb login"):
        require(["wandb"])
    (tmp_path / ".netrc").write_text("machine wandb.example login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    require(["wandb"])
    (tmp_path / ".netrc").unlink()
    monkeypatch.setenv("WANDB_MODE", "offline")
    require(["wandb"])


def test_a_tracking_server_that_does_not_answer_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    uri = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    require(["mlflow"])  # an HTTP error is a response too
    server.shutdown()
    server.server_close()
    with pytest.raises(ValueError, match=f"{uri} does not answer .*refused"):
        require(["mlflow"])


def test_names_of_gauges():
    assert gauge_of("etr") == ("bots_etr", {})
    assert gauge_of("score") == ("bots_score", {"domain": ""})
    assert gauge_of("score/math") == ("bots_score", {"domain": "math"})
    assert gauge_of("seconds") == ("bots_seconds", {})
    assert gauge_of("seconds/learn") == ("bots_phase_seconds", {"phase": "learn"})
    assert gauge_of("posterior/evidence/capability/code")[1] == {"domain": "code"}
    assert gauge_of("posterior/evidence/capability")[1] == {"domain": ""}
    assert gauge_of("posterior/batch/brier") == ("bots_posterior_batch_brier", {})


@pytest.mark.slow
def test_prometheus_scrapes_the_gauges(cluster, tmp_path):
    ray = pytest.importorskip("ray")

    @ray.remote(num_cpus=0)
    class Holder:
        def log(self, folder):
            self.trackers = open_trackers([], folder, CONFIG)
            self.trackers.log(RECORD)
            return self.trackers.failed

    # Ray's processes report once a minute here (tests.heads.QUIET), this one once a second.
    often = {"env_vars": {"RAY_metrics_report_interval_ms": "1000"}}
    holder = Holder.options(runtime_env=often).remote()
    assert ray.get(holder.log.remote(tmp_path)) == 0
    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    end = time.monotonic() + 60
    while True:
        with urlopen(address, timeout=10) as answer:
            lines = [line for line in answer.read().decode().splitlines() if line.startswith("ray_bots_")]
        if any(line.startswith("ray_bots_step") for line in lines):
            break
        assert time.monotonic() < end, "the metrics are not exported"
        time.sleep(1)
    values = {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if 'run="mine"' in line}
    assert values["ray_bots_etr"] == 0.25
    assert values["ray_bots_step"] == 3
    assert any('domain="math"' in line and line.endswith(" 0.75") for line in lines)
    assert any('phase="learn"' in line and line.endswith(" 2.0") for line in lines)
    ray.kill(holder)


@pytest.mark.slow
def test_weights_and_biases_offline_goes_on_under_one_id(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for steps in ((1, 2, 3), (2, 3)):
        trackers = Trackers([WeightsAndBiases("mine", tmp_path, CONFIG)])
        for step in steps:
            trackers.log(RECORD | {"step": step})
        trackers.close()
        assert trackers.failed == 0
    known = json.loads((tmp_path / "trackers.json").read_text())["wandb"]
    written = list((tmp_path / "wandb").glob(f"offline-run-*/run-{known}.wandb"))
    assert written
    assert all(path.stat().st_size > 0 for path in written)


@pytest.mark.slow
def test_mlflow_keeps_configuration_and_figures(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "mine"
    folder.mkdir()
    for steps in ((1, 2), (2, 3)):  # the second time as after a resume
        trackers = Trackers([MLflow("mine", folder, CONFIG)])
        for step in steps:
            trackers.log(RECORD | {"step": step, "etr": step / 10, "score/a+b": 0.5})
        trackers.close()
        assert trackers.failed == 0
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("bots")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "mine"
    assert run.info.status == "FINISHED"
    assert run.data.params["selection.lam"] == "0.1"
    assert sorted({(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "etr")}) == [
        (1, 0.1),
        (2, 0.2),
        (3, 0.3),
    ]
    assert run.data.metrics["score/a_b"] == 0.5
