"""The figures of the real language model are its study's."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.studies.comparison import compare_arms
from pipelines.studies.config import load_study
from pipelines.studies.markdown import cell
from pipelines.studies.results import StudyResults
from tests.docs.study_pages import ROOT, check_table, on_one_line, short, tokens_over_random


def test_the_pages_have_the_figures_of_the_real_language_model(readme, beliefs_page):
    study = load_study(ROOT / "configs" / "study_smollm2.yaml", [])
    results = StudyResults(ROOT / study.results)
    (part,) = study.parts
    compared = compare_arms(results, "arithmetic", part.arms, study.baseline, part.all_seeds)
    assert set(compared.seeds.values()) == {part.seeds}
    check_table(compared.metrics, readme)
    text = on_one_line(readme)
    higher = {arm: metrics["BSF100/steps"] for arm, metrics in compared.metrics.items() if arm != "random"}
    state_space, beta = (cell(higher[arm]) for arm in ("state space", "bots self-tuned"))
    assert f"here it ends {state_space} times as high as random, the Beta update {beta} times" in text
    above = {arm: (metric.values > 1).tolist() for arm, metric in higher.items()}
    assert all(above["state space"] + above["bots self-tuned"] + above["speed"]), "in each of the three seeds"
    assert sum(above["adarft"]) == 2, "below random selection in one"
    ends = {arm: metrics["last score"].values for arm, metrics in compared.metrics.items()}
    assert (ends["adarft"] < ends["state space"]).all()
    assert f"SPEED-RL ends {cell(higher['speed'])} times as high as random" in text
    spent = {arm: tokens_over_random(results, arm, "arithmetic", seeds=3) for arm in ("state space", "speed")}
    assert (
        f"generates {float(spent['speed']) / float(spent['state space']):.1f} times that one's tokens" in text
    )
    beliefs = on_one_line(beliefs_page)
    said = (
        "comes to {} times random's best score; SPEED-RL's screening to {}, for {:.1f} times random's tokens"
    )
    assert said.format(*(cell(higher[arm]) for arm in ("adarft", "speed")), float(spent["speed"])) in beliefs
    best = [compared.metrics[arm]["best score"].values for arm in ("bots self-tuned", "random")]
    lead = np.subtract(*best)
    assert short(f"in one seed the Beta update by {min(lead):.3f} only") in text


def test_the_real_language_model_s_first_steps_are_as_the_page_says(beliefs_page):
    page = on_one_line(beliefs_page)
    steps = pq.read_table(ROOT / "docs" / "study_smollm2" / "steps.parquet")
    first = steps.filter(pc.is_in(steps["step"], pa.array(range(1, 11)))).group_by(["arm", "seed"])
    found = {
        (row["arm"], row["seed"]): row["etr_mean"] for row in first.aggregate([("etr", "mean")]).to_pylist()
    }
    by_arm = {
        arm: [found[arm, seed] for seed in range(3)] for arm in ("state space", "bots self-tuned", "random")
    }
    one, two, three = (short(f"{value:.2f}") for value in by_arm["state space"])
    assert f"{one}, {two} and {three} of the state-space belief's tasks have mixed rewards" in page
    ends = [short(f"{end(by_arm[arm]):.2f}") for arm in ("bots self-tuned", "random") for end in (min, max)]
    assert "{} to {} of the Beta update's and {} to {} of random's".format(*ends) in page
