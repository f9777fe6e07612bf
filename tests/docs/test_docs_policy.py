"""The figures of what selection does to the policy are the study's."""

import numpy as np

from pipelines.studies.markdown import cell
from tests.docs.study_pages import DEFAULT, STUDY, as_on_page, on_one_line, short

COLUMNS = {
    "evaluation/evaluation_entropy": 3,
    "evaluation/pass@2": 3,
    "last score": 3,
    "evaluation/evaluation_completion_tokens": 1,
    "evaluation/evaluation_finished_share": 2,
}
"""The metrics of the table on the policy's last completions, with their digits."""


def test_the_last_completions_are_as_the_pages_say(results, selection_page, readme):
    parts = {
        "does it pay": ["random", "bots", "bots self-tuned", DEFAULT],
        "a prior from the reference models": ["prior and lean filter"],
        "rivals": ["adarft"],
        "more rivals": ["greso", "speed"],
    }
    rows = {}
    for part, arms in parts.items():
        compared = as_on_page(results, part, "mixed")
        rows |= {arm: [compared[arm][name] for name in COLUMNS] for arm in arms}
    assert {len(metric.values) for row in rows.values() for metric in row} == {8}
    for arm, row in rows.items():
        cells = [
            cell(metric, digits).strip("*") for metric, digits in zip(row, COLUMNS.values(), strict=True)
        ]
        assert f"| {' | '.join([arm, *cells])} |\n" in selection_page, arm
        entropy, second, score, *_ = (metric.values for metric in row)
        assert arm == "random" or (entropy < rows["random"][0].values).all(), "in each of the eight seeds"
        assert abs(np.mean(second - score) - 0.05) < 0.006
    page = on_one_line(selection_page)
    assert "in each of the eight seeds it falls further with every other row" in page
    assert "pass@2 is about .05 above the score in every row" in page
    others = [
        as_on_page(results, part, "mixed")[arm]
        for part, arm in (("rivals by embeddings", "gps"), ("more rivals", "vade"))
    ]
    assert not any(each["last score"].holds for each in others), "they end where random selection ends"
    ends = [short(f"{each['evaluation/evaluation_entropy'].interval.mean:.3f}") for each in others]
    assert "`gps` and `vade` come to {} and {} and end".format(*ends) in page
    random, default = ([metric.interval.mean for metric in rows[arm][:2]] for arm in ("random", DEFAULT))
    assert f"({default[0]:.2f} and {random[0]:.2f} nats a token, 0.34 before training)" in on_one_line(readme)
    assert f"(pass@2 {default[1]:.3f}, random {random[1]:.3f})" in on_one_line(readme)
    everywhere = as_on_page(results, "more rivals", "mixed")
    assert all(everywhere[arm]["coverage"].interval.mean > 0.995 for arm in ("greso", "speed"))
    entropy, second = (_before_training(results, name) for name in ("evaluation_entropy", "pass@2"))
    assert f"the entropy is {entropy:.3f} nats a token, pass@2 {second:.3f} and the score 0.444:" in page


def test_what_ends_above_random_selection_has_less_entropy(results):
    checked = set()
    for part in STUDY.parts:
        if "mixed" not in part.pools or part.seeds < 8:
            continue
        compared = as_on_page(results, part.name, "mixed")
        for arm, metrics in compared.items():
            entropy = metrics.get("evaluation/evaluation_entropy")
            above = (
                metrics["last score"].holds
                and metrics["last score"].middle > compared["random"]["last score"].middle
            )
            if entropy and above:
                assert entropy.middle < compared["random"]["evaluation/evaluation_entropy"].middle, arm
                checked.add(arm)
    assert len(checked) > 10


def _before_training(results, name):
    """Mean over the seeds of a metric of the untrained policy's completions."""
    steps = results.steps.select(["pool", "arm", "step", "evaluation"]).to_pylist()
    first = [
        dict(row["evaluation"])[name]
        for row in steps
        if (row["pool"], row["arm"], row["step"]) == ("mixed", DEFAULT, 0)
    ]
    assert len(first) == 8
    return np.mean(first)


def test_among_hopeless_tasks_the_fixed_curriculum_falls_as_the_selection_page_says(results, selection_page):
    page = on_one_line(selection_page)

    def scores(pool, seed, *steps):
        against = results.run((pool, "offline", seed)).against["steps"]
        by_step = dict(zip(against.at, against.scores, strict=True))
        return [by_step[step] for step in steps]

    def said(score):
        return short(f"{score:.2f}")

    pools = ("math", "logic", "code")
    runs = np.array([[scores(pool, seed, 0, 60, 120, 150) for seed in range(8)] for pool in pools])
    began, before, low, ended = np.moveaxis(runs, -1, 0)
    assert (low < before).all()
    assert (low < ended).all()
    assert f"in {(low < began).sum()} of {low.size} runs below where it began" in page
    began, before, low, _ = runs[pools.index("math")].T
    assert f"it was {said(before.min())} to {said(before.max())} at step 60" in page
    assert f"and {said(low.min())} to {said(low.max())} at step 120" in page
    assert f"the base model has {said(began.min())} to {said(began.max())}." in page
    first, *others, last = (short(f"{score:.3f}") for score in scores("code", 3, 60, 70, 80, 90, 100))
    assert f"it was {first} at step 60 and {', '.join(others)} and {last} at the next four" in page
