"""How well each evidence plug-in predicts real training: one step ahead, on the observations of a finished run.

    bots train configs/lab.yaml selection.selector=random run.checkpoint_every=0 run.name=observed
    python -m benchmarks.calibration runs/observed

Replays the run's log of observations (kept whole where no checkpoint was taken) through a BOTS with each plug-in,
and prints how the posterior means, and p̃ alone, agreed with the pass rates that followed. Observations of a run with
random selection are a fair sample of the pool; those of `bots` are what it chose.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import yaml

from bots import BOTS, TaskPool
from bots.metrics import calibration
from bots.support.event_log import EventLog

PLUG_INS: dict[str, dict[str, object]] = {
    "none": {},
    "interpolation": {},
    "item_response": {},
    "online": {"columns": ["domain", "level"]},
    "neighbours": {"column": "embedding"},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    settings = yaml.safe_load((run / "config.yaml").read_text())
    with pa.memory_map(str(run / "pool.arrow")) as file:
        pool = with_embedding(ipc.open_file(file).read_all())
    events = [e for e in EventLog(run / "posterior" / "log.jsonl").replay() if e["do"] == "observe"]
    if len(events) < settings["run"]["steps"]:
        raise SystemExit(f"{run} kept {len(events)} of its observations; run it with run.checkpoint_every=0")
    n = settings["rollout"]["samples"]
    print(f"{len(events)} steps, {sum(len(e['rows']) for e in events)} groups of {n}")
    print(f"{'evidence':15}{'rho':>6}{'Brier':>8}{'log loss':>10}{'correlation':>13}{'AUC':>7}")
    for name, options in PLUG_INS.items():
        for rho in (0.1,) if name == "none" else (0.1, 0.5, 1.0):
            bots = BOTS(pool, rho=rho, rollouts=n, evidence=name, evidence_options=options)
            predicted, observed = [], []
            for event in events:
                rows, rewards = np.array(event["rows"]), np.array(event["rewards"])
                predicted.append(bots.predict_mean(rows))
                observed.append(rewards.mean(1))
                bots.observe(rows, rewards, step=event["step"])
            p, o = np.concatenate(predicted), np.concatenate(observed)
            c = calibration(p, o, np.full(len(p), n))
            print(f"{name:15}{rho:6}{c.brier:8.4f}{c.log_loss:10.4f}{c.correlation:13.3f}{c.auc:7.3f}")


def with_embedding(table: pa.Table) -> TaskPool:
    """The pool with domain and level as a small embedding, for `neighbours`: similar tasks lie side by side."""
    domains = sorted(set(table["domain"].to_pylist()))
    features = np.zeros((table.num_rows, len(domains) + 2), np.float32)
    codes = np.array([domains.index(domain) for domain in table["domain"].to_pylist()])
    features[np.arange(len(codes)), codes] = 1.0
    angle = np.array(table["level"].to_pylist()) / 14 * np.pi
    features[:, -2:] = np.stack([np.cos(angle), np.sin(angle)], 1)
    flat = pa.array(features.ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
    return TaskPool.from_arrow(table.append_column("embedding", column), weak="weak", strong="strong")


if __name__ == "__main__":
    main()
