"""What the tests of the documentation's figures read."""

import pytest


@pytest.fixture(scope="session")
def results():
    """The study's results."""
    from pipelines.studies.results import StudyResults
    from tests.docs.study_pages import ROOT, STUDY

    return StudyResults(ROOT / STUDY.results)


@pytest.fixture(scope="session")
def readme():
    """The README's text."""
    return _text("README.md")


@pytest.fixture(scope="session")
def selection_page():
    """The text of the page on selection."""
    return _text("docs/selection.md")


@pytest.fixture(scope="session")
def beliefs_page():
    """The text of the page on beliefs."""
    return _text("docs/beliefs.md")


@pytest.fixture(scope="session")
def tuning_page():
    """The text of the page on tuning."""
    return _text("docs/tuning.md")


def _text(path):
    from tests.docs.study_pages import ROOT

    return (ROOT / path).read_text()
