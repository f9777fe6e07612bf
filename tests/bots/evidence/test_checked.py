"""What an evidence plug-in predicts is checked, and the plug-in named."""

import numpy as np
import pytest

from bots import BOTS
from bots.evidence import Evidence
from bots.evidence.base import EvidenceError
from bots.pool.example import example_pool


class Predicts(Evidence):
    """One value for every task; `rows` spoils `predict_rows` alone."""

    def __init__(self, pool, value=0.5, row=7, rows="fine"):
        super().__init__(pool)
        self.value, self.row, self.rows = value, row, rows

    def observe(self, observation):
        pass

    def predict(self, start, stop, out):
        out[:] = 0.5
        if start <= self.row < stop:
            out[self.row - start] = self.value

    def predict_rows(self, rows):
        if self.rows == "short":
            return np.full(len(rows) - 1, 0.5, np.float32)
        return np.full(len(rows), 1.5 if self.rows == "range" else 0.5, np.float32)


class Forgets(Predicts):
    """Leaves the last elements as they were."""

    def predict(self, start, stop, out):
        out[: len(out) - 3] = 0.5


def bots_with(name, **options):
    pool = example_pool()
    return BOTS(pool, lam=0.1, rho=0.1, evidence=f"{__name__}:{name}", evidence_options=options)


def observe(bots):
    rows = np.arange(20, 28)
    bots.observe(rows, np.tile([0.0, 1.0], (8, 2)), step=0)


@pytest.mark.parametrize("value", [-0.01, 1.01, np.inf, -np.inf])
def test_a_rate_out_of_range_is_refused(value):
    bots = bots_with("Predicts", value=value)
    before = bots.alpha.tobytes(), bots.beta.tobytes()
    with pytest.raises(EvidenceError, match=r"test_checked:Predicts predicts .* in row 7;"):
        observe(bots)
    assert (bots.alpha.tobytes(), bots.beta.tobytes()) == before, "a pool of one block keeps its beliefs"


def test_an_unwritten_rate_is_refused():
    with pytest.raises(EvidenceError, match="test_checked:Forgets left p̃ unwritten in row 297"):
        observe(bots_with("Forgets"))


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_rates_and_nan_are_fine(value):
    bots = bots_with("Predicts", value=value)
    observe(bots)
    assert np.isfinite(bots.alpha).all()


@pytest.mark.parametrize(
    ("rows", "words"), [("short", r"float32 of shape \(2,\) for 3 rows"), ("range", "1.5 in row 40")]
)
def test_predictions_of_some_rows_are_checked_too(rows, words):
    bots = bots_with("Predicts", rows=rows)
    observe(bots)
    with pytest.raises(EvidenceError, match=words):
        bots.observe(
            np.array([40, 41, 42]), np.ones((3, 4)), step=0
        )  # late and unselected: their p̃ is asked for
