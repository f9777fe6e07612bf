"""What the tests of the documentation's figures read."""

import pytest


@pytest.fixture(scope="session")
def results():
    """The study's results."""
    from pipelines.studies.results import StudyResults
    from tests.docs.study_pages import ROOT, STUDY

    return StudyResults(ROOT / STUDY.results)


@pytest.fixture(scope="session")
def selection_page():
    """The text of the page on selection."""
    from tests.docs.study_pages import ROOT

    return (ROOT / "docs" / "selection.md").read_text()


@pytest.fixture(scope="session")
def readme():
    """The README's text."""
    from tests.docs.study_pages import ROOT

    return (ROOT / "README.md").read_text()
