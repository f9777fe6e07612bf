"""The Python examples in the documentation run as they stand, and the README's figures are the study's."""

import re
from pathlib import Path

import pytest

from pipelines.studies.config import load_study
from pipelines.studies.figures import COSTS, compare_arms
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
    compared = compare_arms(results, "mixed", ["random", "bots"], "random", seeds=8)
    assert compared.seeds["bots"] == 8
    found = [compared.figures["bots"][f"TTB100/{cost}"].interval for cost in COSTS]
    row = " | ".join(f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in found)
    assert f"| {row} |" in (ROOT / "README.md").read_text(), row
