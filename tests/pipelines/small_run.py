"""A small run's folder as the real journal and the real posterior write it; only the model is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from actors.batch_metrics import batch_metrics
from actors.journal import Journal
from actors.posterior import PosteriorActor, merged_metrics, write_pool
from bots.config.train import load_config
from bots.config.tree import dump_config
from bots.pool import TaskPool
from bots.rollouts.rollout import Group, Rollout, rollout_table
from bots.sources.open import read_pool
from bots.support.event_log import EventLog
from pipelines.shared.summary import summarise

LAB = Path(__file__).parents[2] / "configs" / "lab.yaml"
HOSTILE = [
    "</script><script>document.title = 'owned'</script>",
    "<img src=http://192.0.2.1/x onerror=\"document.title='owned'\"> & \u202e reversed \u0007",
    "@DATA@ @SCRIPT@ \u2028 --> <!-- <script> ${1+1} {{7*7}}",
]


def make_run(
    folder: Path,
    *,
    name: str = "small",
    selector: str = "bots",
    seed: int = 0,
    steps: int = 12,
    planned: int | None = None,
    keep: bool = True,
    ended: bool = True,
    evaluated: bool = True,
    ahead: bool = False,
    overrides: tuple[str, ...] = (),
) -> Path:
    """Write a run and return its folder.

    planned: `run.steps` if the run ended earlier. keep: the rollouts. ended: whether it wrote its summary.
    ahead: generated ahead, so that each pair of steps trains on halves of two waves, as its ledger records.
    """
    config = load_config(
        LAB,
        [
            f"run.folder={folder}",
            f"run.name={name}",
            f"run.steps={planned or steps}",
            f"run.seed={seed}",
            f"run.keep_rollouts={str(keep).lower()}",
            "pool.sources.0.size=120",
            "evaluation.pool.sources.0.size=30",
            "selection.tasks=8",
            "rollout.samples=4",
            f"selection.selector={selector}",
            *overrides,
        ],
    )
    pool = read_pool(config.pool)
    config = config.on(pool)
    path = config.run.path
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(dump_config(config))
    write_pool(pool, path / "pool.arrow")
    # The actors' own classes in this process: they need no cluster to write files.
    journal = Journal.__ray_metadata__.modified_class(str(path))
    posterior = PosteriorActor.__ray_metadata__.modified_class(
        str(path / "pool.arrow"),
        pool.anchor_columns,
        config.selection.settings(4, seed),
        str(path / "posterior"),
    )
    model = np.random.default_rng(seed)
    held_out = read_pool(config.evaluation.pool)

    def keep_evaluation(step: int) -> None:
        if keep and evaluated:
            chance = np.random.default_rng(step)
            groups = [_answered(held_out, row, step, chance) for row in range(len(held_out))]
            table = rollout_table(step, held_out.ids(np.arange(len(held_out))), groups)
            journal.keep(step, table, "evaluation")

    keep_evaluation(0)
    scores = {"score": 0.4, "score/math": 0.3, "score/code": 0.5} if evaluated else {}
    journal.write({"step": 0} | posterior.survey() | scores)
    ledger = EventLog(path / "ledger.jsonl") if ahead else None
    under_way: dict[int, list[int]] = {}
    for step in range(1, steps + 1):
        for wave in _selected_now(step, steps, ahead):
            exclude = [row for rows in under_way.values() for row in rows]
            rows, select_seconds = posterior.select(wave, 8, exclude)
            under_way[wave] = rows.tolist()
            if ledger:
                ledger.append({"event": "selected", "wave": wave, "rows": rows.tolist()})
        keys = [
            (wave, row) for wave, rows in under_way.items() for row in rows[: 4 if len(under_way) > 1 else 8]
        ]
        under_way = {
            w: left for w, rows in under_way.items() if (left := [r for r in rows if (w, r) not in keys])
        }
        if ledger:
            ledger.append({"event": "trained", "step": step, "tasks": keys})
        groups = [_answered(pool, row, step, model) for _, row in keys]
        record = batch_metrics(groups) | {"policy_version": step, "staleness": 0, "engine_busy_share": 0.9}
        record |= {"select_wait_seconds": select_seconds, "loss": 0.01, "grad_norm": 0.3, "dropped_groups": 0}
        if keep:
            journal.keep(step, rollout_table(step, pool.ids([group.row for group in groups]), groups))
        told: dict[str, Any] = {}
        for wave in sorted({wave for wave, _ in keys}):
            of_wave = [group for (w, _), group in zip(keys, groups, strict=True) if w == wave]
            rewards = np.stack([group.rewards for group in of_wave])
            told = merged_metrics(told, posterior.observe(wave, np.array([g.row for g in of_wave]), rewards))
        record |= told
        if step % 4 == 0:
            record |= posterior.survey()
        if evaluated and step % 4 == 0:
            keep_evaluation(step)
            score = 0.4 + 0.01 * step + 0.002 * seed
            record |= {"score": score, "score/math": score - 0.1, "score/code": score + 0.1}
        phases = {"seconds/generate": 0.4, "seconds/learn": 0.3, "seconds/evaluate": 0.2, "seconds": 1.0}
        journal.write({"step": step, **record, **phases})
    journal.close()
    if ended:
        summarise(path, posterior.table(), 1.0 * steps + 5)
    return path


def _selected_now(step: int, steps: int, ahead: bool) -> list[int]:
    """Waves selected before a step: its own, or two at every other step."""
    if not ahead:
        return [step]
    return [wave for wave in (step, step + 1) if wave <= steps] if step % 2 else []


def _answered(pool: TaskPool, row: int, step: int, model: np.random.Generator) -> Group:
    """A group from a model that improves from the weak reference model to the strong one."""
    known = pool.weak is not None and not np.isnan(pool.weak[row])
    weak, strong = (pool.weak[row], pool.strong[row]) if known else (0.3, 0.6)
    rate = float(np.clip(weak + step / 12 * (strong - weak), 0.05, 0.95))
    rewards = (model.random(4) < rate).astype(float)
    answers = [
        Rollout(
            token_ids=np.arange(5, dtype=np.int32),
            logprobs=np.full(5, -0.1, np.float32),
            text=f"answer {step}.{i} {HOSTILE[(row + i) % len(HOSTILE)]}",
            finished=True,
            version=step - 1,
            weights="0" * 12,
        )
        for i in range(4)
    ]
    reasons = ["right" if reward else f"wrong {HOSTILE[0]}" for reward in rewards]
    return Group(row, np.arange(3, dtype=np.int32), answers, rewards, reasons)
