"""Metrics of a simulated run against random selection on the same seed (definitions: `bots.metrics`)."""

from __future__ import annotations

import numpy as np

from bots.metrics import best_so_far, time_to_best
from bots.simulation.run import Trace


def comparison_metrics(trace: Trace, random: Trace) -> dict[str, float]:
    """The comparison metrics of one run, by name; TTB is inf if the run never got there.

    etr, signal, completions: means over the steps. coverage: share of the pool selected at least once. score: the
    last, best_score: the best, mean_score: the mean of the learning curve, held out. gain, ttb50, ttb100, bsf25,
    bsf100: against `random`, the baseline's run, over steps; gain is the difference of the means. ttb100_completions:
    TTB(1) over the completions generated until then. brier, log_loss, correlation, auc, overconfidence: of the
    predictions one step ahead. lam, rho, p_star: means over the second half, which an adaptor may have moved.
    """
    fit, ours, theirs = trace.calibration(), trace.curve, random.curve
    late = slice(len(trace.etr) // 2, None)
    return {
        "etr": float(trace.etr.mean()),
        "coverage": float(trace.coverage[-1]),
        "signal": float(trace.signal.mean()),
        "completions": float(trace.completions.mean()),
        "score": float(ours.scores[-1]),
        "best_score": float(ours.scores.max()),
        "mean_score": float(ours.scores.mean()),
        "gain": float(ours.scores.mean() - theirs.scores.mean()),
        "ttb50": time_to_best(ours, theirs, 0.5),
        "ttb100": time_to_best(ours, theirs, 1.0),
        "ttb100_completions": time_to_best(trace.on_completions(), random.on_completions(), 1.0),
        "bsf25": best_so_far(ours, theirs, 0.25),
        "bsf100": best_so_far(ours, theirs, 1.0),
        "brier": fit.brier,
        "log_loss": fit.log_loss,
        "correlation": fit.correlation,
        "auc": fit.auc,
        "overconfidence": trace.overconfidence(),
        "lam": float(np.mean(trace.lam[late])),
        "rho": float(np.mean(trace.rho[late])),
        "p_star": float(np.mean(trace.p_star[late])),
    }
