"""The runs that the report's tests share. They are read-only: copy one before changing it."""

import pytest

from pipelines.report import main
from tests.pipelines.small_run import make_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Two settings with two seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder, name=f"{selector}-{seed}", selector=selector, seed=seed)
        for selector in ("bots", "random")
        for seed in (0, 1)
    ]


@pytest.fixture(scope="session")
def page(runs, tmp_path_factory):
    """The report on all four runs."""
    output = tmp_path_factory.mktemp("page") / "report.html"
    assert main([*map(str, runs), "--output", str(output)]) == 0
    return output
