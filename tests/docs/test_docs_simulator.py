"""What the page on the simulator says of real training is the study's."""

from pipelines.studies.comparison import compare_arms
from tests.docs.study_pages import DEFAULT, ROOT, STUDY, on_one_line

REAL = {
    "random": "random",
    "bots": "bots",
    "greedy": "greedy",
    "self-tuned": "bots self-tuned",
    "default": DEFAULT,
    "mopps": "mopps",
    "dots": "dots",
    "offline": "offline",
}
"""The simulated lab's arms that the study has, by the names there."""


def test_the_simulated_lab_predicts_effective_tasks_and_coverage_as_closely_as_the_page_says(results):
    page = (ROOT / "docs" / "simulator.md").read_text()
    table = page.partition("## The lab's arms")[2].partition("\n\n`")[2].partition("\n\nCoverage is")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line[:1] == "|"
    ]
    assert rows[0][:3] == ["arm", "ETR", "coverage"]
    simulated = {row[0]: [float(cell.split()[0]) for cell in row[1:3]] for row in rows[2:]}
    assert set(simulated) == {*REAL, "variance"}
    compared = compare_arms(results, "mixed", list(REAL.values()), STUDY.baseline, range(8)).metrics
    worst = [
        max(abs(simulated[arm][k] - compared[real][name].interval.mean) for arm, real in REAL.items())
        for k, name in enumerate(("ETR", "coverage"))
    ]
    said = "predicts their ETR to within about {:.2f} and their coverage to within about {:.2f}, but"
    assert said.format(*worst) in on_one_line(page)
