"""The Python examples in the documentation run as they stand, and the README's figures are the study's."""

import re
from pathlib import Path

import pytest

from pipelines.studies.config import load_study
from pipelines.studies.figures import compare_arms
from pipelines.studies.page import cell
from pipelines.studies.results import StudyResults

ROOT = Path(__file__).parents[1]


def examples():
    for page in sorted((ROOT / "docs").glob("*.md")):
        for k, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)):
            yield pytest.param(code, id=f"{page.stem}-{k}")


@pytest.mark.parametrize("code", list(examples()))
def test_an_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {"__name__": "example"})


def test_the_readme_has_the_study_s_figures():
    results = StudyResults(ROOT / load_study(ROOT / "configs" / "study.yaml", []).results)
    arms = ["random", "bots", "bots self-tuned", "mopps", "dots", "offline", "dynamic filter"]
    compared = compare_arms(results, "mixed", arms, "random", seeds=8)
    readme = (ROOT / "README.md").read_text()
    for arm in arms[:-1]:
        assert compared.seeds[arm] == 8
        figures = compared.figures[arm]
        costs = [cell(figures[f"TTB100/{cost}"]) if arm != "random" else "1" for cost in ("steps", "tokens")]
        row = [arm, *costs, cell(figures["best score"], 3), f"{figures['ETR'].interval.mean:.2f}"]
        assert f"| {' | '.join(row)} |\n" in readme, row
    seconds = cell(compared.figures["bots"]["TTB100/seconds"]).strip("*")
    assert f"`bots` takes {seconds} of random's" in readme
    ends_below = compare_arms(results, "mixed", arms[1:-1], "bots", seeds=8).figures
    for arm in arms[2:-1]:
        assert all(ends_below[arm][f"BSF100/{cost}"].holds for cost in ("steps", "tokens"))
        assert ends_below[arm]["BSF100/steps"].interval.mean < 1
