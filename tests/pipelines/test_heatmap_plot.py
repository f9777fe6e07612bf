"""The heat map's cells, from hand-made trials."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from pipelines.sweeps.config import load_sweep
from pipelines.sweeps.heatmap_plot import LAM, RHO, _draw_cells, heat_cells
from pipelines.sweeps.results import SweepResults, Trial


@pytest.fixture
def results():
    def trial(lam, rho, value, step=8.0, status="finished"):
        return Trial("t", {LAM: lam, RHO: rho}, {"gain": value, "step": step}, [], {}, status, 1.0, None)

    trials = [
        trial(0.1, 0.1, 0.02),
        trial(0.1, 0.1, 0.04),
        trial(0.1, 0.1, 0.90, 2.0, "stopped"),
        trial(0.1, 0.0, 0.70, 2.0, "stopped"),
        trial(0.1, 0.0, 0.50, 3.0, "stopped"),
        trial(0.0, 0.1, 0.01),
    ]
    return SweepResults(load_sweep("tune_configs/sim_grid.yaml", []), trials)


def test_a_stopped_trial_counts_for_no_cell_in_which_another_ended(results):
    cells = heat_cells(results, results.trials)
    assert (cells.lam, cells.rho) == ([0.0, 0.1], [0.0, 0.1])
    np.testing.assert_allclose(cells.ended, [[np.nan, 0.01], [np.nan, 0.03]])
    np.testing.assert_allclose(cells.stopped, [[np.nan, np.nan], [0.6, np.nan]])
    np.testing.assert_allclose(cells.last, [[np.nan, np.nan], [3.0, np.nan]])


def test_a_stopped_cell_has_no_colour_and_says_when(results):
    axis = Figure().subplots()
    image = _draw_cells(results, results.trials, axis)
    assert image.get_array().mask.tolist() == [[True, False], [True, False]]
    assert image.get_clim() == (0.01, 0.03), "the stopped trials' larger values take no part in the scale"
    written = {text.get_position(): text.get_text() for text in axis.texts}
    assert written == {(1, 0): "0.0100", (1, 1): "0.0300", (0, 1): "0.6000\nstopped after\nseed 3"}
    (frame,) = axis.patches
    assert frame.get_xy() == (0.5, 0.5), "around the default"
