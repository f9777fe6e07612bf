"""What a report's page would show, as data."""

import json

from pipelines.report.page import to_json
from pipelines.report.sections import build
from pipelines.report.settings import group, read_runs


def data_of(*folders):
    """The page's data on these runs, as its script reads it."""
    return json.loads(to_json(build(group(read_runs(list(folders))))))
