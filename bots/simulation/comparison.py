"""Metrics of a simulated run against random selection on the same seed (definitions: `bots.metrics`)."""

from __future__ import annotations

import numpy as np

from bots.metrics import Curve, best_so_far, time_to_best
from bots.simulation.run import Trace


def comparison_metrics(trace: Trace, random: Curve) -> dict[str, float]:
    """The comparison metrics of one run, by name; TTB is inf if the run never got there.

    etr, signal, completions: means over the steps. score: the last, best_score: the best, mean_score: the mean of the
    learning curve, held out. gain, ttb50, ttb100, bsf25, bsf100: against `random`, the baseline's learning curve; gain
    is the difference of the means. brier, log_loss, correlation, auc, overconfidence: of the predictions one
    step ahead.
    lam, rho, p_star: means over the second half, which an adaptor may have moved.
    """
    fit = trace.calibration()
    late = slice(len(trace.etr) // 2, None)
    return {
        "etr": float(trace.etr.mean()),
        "signal": float(trace.signal.mean()),
        "completions": float(trace.completions.mean()),
        "score": float(trace.curve.scores[-1]),
        "best_score": float(trace.curve.scores.max()),
        "mean_score": float(trace.curve.scores.mean()),
        "gain": float(trace.curve.scores.mean() - random.scores.mean()),
        "ttb50": time_to_best(trace.curve, random, 0.5),
        "ttb100": time_to_best(trace.curve, random, 1.0),
        "bsf25": best_so_far(trace.curve, random, 0.25),
        "bsf100": best_so_far(trace.curve, random, 1.0),
        "brier": fit.brier,
        "log_loss": fit.log_loss,
        "correlation": fit.correlation,
        "auc": fit.auc,
        "overconfidence": trace.overconfidence(),
        "lam": float(np.mean(trace.lam[late])),
        "rho": float(np.mean(trace.rho[late])),
        "p_star": float(np.mean(trace.p_star[late])),
    }
