"""prime-rl's and slime's own classes with our adapters, from checkouts of their sources: neither is on PyPI.

python -m tests.bots.adapters.sources_run TRAINERS CHECKOUTS WORK: the folder that `make peers` fills, a folder with the
checkouts `prime-rl` and `slime`, and an empty one. Prints one JSON line.
"""

import json
import sys
import traceback
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

FOLDER, CHECKOUTS, WORK = (Path(given) for given in sys.argv[1:4])
sys.path[:0] = [
    str(FOLDER),
    str(CHECKOUTS / "prime-rl/src"),
    str(CHECKOUTS / "prime-rl/packages/prime-rl-configs/src"),
    str(CHECKOUTS / "slime"),
]
for name in ("anthropic", "anthropic.types", "prime_sandboxes", "prime_sandboxes.models"):
    sys.modules[name] = MagicMock()

import numpy as np

from bots.lab.checkpoints import checkpoint_path
from bots.lab.pool import lab_table

N, TASKS, BATCH = 4, 40, 5
TABLE = lab_table(TASKS, seed=3, anchors=True)
ROWS, IDS = TABLE.to_pylist(), TABLE["id"].to_pylist()
PAGE = Path(__file__).parents[3] / "docs/adapters.md"
UNKNOWN = '        else:\n            raise TypeError(f"Unsupported task sampler config'


def rewards_of(row):
    return [float(reward) for reward in np.random.default_rng(row).integers(0, 2, N)]


def seen(curriculum):
    """Rows with evidence."""
    return curriculum.bots.table()["observations"].to_numpy().nonzero()[0].tolist()


def patched_curriculum():
    """prime-rl's `Curriculum` with the patch of docs/adapters.md, word by word."""
    from importlib import import_module

    from prime_rl.orchestrator.curriculum import base

    class ImportedSamplerConfig(SimpleNamespace):
        """path: `module:class`. kwargs: of the class, after the tasks."""

    lines = PAGE.read_text().split("## prime-rl")[1].split("\n## ")[0].splitlines()
    first = next(nth for nth, line in enumerate(lines) if line.startswith("    elif "))
    patch = "".join(f"    {line}\n" for line in lines[first : first + 3])
    source = Path(base.__file__).read_text()
    assert UNKNOWN in source, "prime-rl chooses its sampler in another way now"
    module = ModuleType("patched")
    vars(module).update(import_module=import_module, ImportedSamplerConfig=ImportedSamplerConfig)
    exec(compile(source.replace(UNKNOWN, patch + UNKNOWN), base.__file__, "exec"), vars(module))
    return module.Curriculum, ImportedSamplerConfig


def drive_prime_rl():
    from prime_rl.orchestrator.curriculum.samplers import TaskSampler
    from verifiers.v1.agent import AgentConfig
    from verifiers.v1.episode import Episode
    from verifiers.v1.task import Task, TaskData
    from verifiers.v1.trace import AgentInfo, Reward, Trace, TraceTask

    from bots.adapters.prime_rl import BOTSSampler

    make, kind = patched_curriculum()

    class Data(TaskData):
        weak: float | None
        strong: float | None

    class LabTask(Task[Data]):
        @property
        def key(self):
            return self.data.id

    names = ("id", "prompt", "weak", "strong")
    tasks = [LabTask(Data(idx=nth, **{name: row[name] for name in names})) for nth, row in enumerate(ROWS)]
    settings = {"rollouts": N, "seed": 0}
    kwargs = {"wave": BATCH, "weak": "weak", "strong": "strong", "settings": settings}
    sampler = kind(path="bots.adapters.prime_rl:BOTSSampler", kwargs=kwargs)
    one, again = (make(SimpleNamespace(sampler=sampler, gates={}), tasks) for _ in range(2))

    def episode(task, reward):
        of = TraceTask(type="LabTask", data=task.data, key=task.key, hash=task.hash)
        agent = AgentInfo(config=AgentConfig(), trainable=True)
        trace = Trace(task=of, agent=agent, rewards={"right": Reward(score=reward)}, ok=True)
        return Episode(task=of, traces=[trace], ok=True)

    drawn = [next(one.sampler) for _ in range(2 * BATCH)]
    for task in drawn:
        assert one.on_result([episode(task, reward) for reward in rewards_of(IDS.index(task.key))])
    again.load_state_dict(json.loads(json.dumps(one.state_dict())))
    following = [[next(each.sampler).key for _ in range(7)] for each in (one, again)]
    methods = {name for name in vars(TaskSampler) if not name.startswith("_")} | {"__next__"}
    return {
        "trained": sorted(IDS.index(task.key) for task in drawn),
        "seen": seen(one.sampler.curriculum),
        "resumed_alike": following[0] == following[1],
        "metrics": one.metrics(),
        "lacks": sorted(name for name in methods if not hasattr(BOTSSampler, name)),
    }


def drive_slime():
    from slime.utils.misc import load_function
    from slime.utils.types import Sample

    names = ("id", "weak", "strong")
    with (WORK / "slime.jsonl").open("w") as file:
        for row in ROWS:
            metadata = {name: row[name] for name in names}
            file.write(
                json.dumps({"text": row["prompt"], "label": row["answer"], "metadata": metadata}) + "\n"
            )
    args = SimpleNamespace(
        rollout_global_dataset=True,
        prompt_data=str(WORK / "slime.jsonl"),
        hf_checkpoint=str(checkpoint_path("base")),
        dump_details=None,
        rollout_max_prompt_len=None,
        input_key="text",
        multimodal_keys=None,
        label_key="label",
        metadata_key="metadata",
        tool_key=None,
        apply_chat_template=False,
        apply_chat_template_kwargs=None,
        rollout_seed=42,
        rollout_shuffle=True,
        buffer_filter_path=None,
        n_samples_per_prompt=N,
        rollout_batch_size=BATCH,
        partial_rollout=False,
        reward_key=None,
        save=str(WORK),
        load=str(WORK),
        bots={**{name: name for name in names}, "seed": 0},
    )
    make = load_function("bots.adapters.slime.BOTSDataSource")
    one, drawn, aborted = make(args), [], []
    for _ in range(2):
        discarded, *groups = one.get_samples(BATCH + 1)
        for sample in discarded:
            sample.status = Sample.Status.ABORTED
        aborted.append(IDS.index(discarded[0].metadata["id"]))
        for group in groups:
            row = IDS.index(group[0].metadata["id"])
            drawn.append(row)
            for sample, reward in zip(group, rewards_of(row), strict=True):
                sample.reward, sample.status = reward, Sample.Status.COMPLETED
    one.save(1)
    again = make(args)
    again.load(1)
    return {
        "trained": sorted(drawn),
        "seen": seen(one.curriculum),
        "aborted": aborted,
        "groups_given_up": again.curriculum.metrics()["groups/dropped"],
        "same_posterior": again.curriculum.bots.alpha.tolist() == one.curriculum.bots.alpha.tolist(),
    }


def main():
    """Each trainer's result, or its error."""
    found = {}
    for name, drive in (("prime-rl", drive_prime_rl), ("slime", drive_slime)):
        try:
            found[name] = drive()
        except Exception:  # noqa: BLE001 (told to the test, which has one assertion for each)
            found[name] = {"error": traceback.format_exc()}
    print(json.dumps(found))


main()
