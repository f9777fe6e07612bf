"""Comparison metrics: ETR, TTB, BSF, calibration of predictions, and paired comparison over seeds.

One definition for every report (BOTS, arXiv 2510.26374, section 5 and its appendix on metrics).
"""

from bots.metrics.curves import Curve, best_so_far, running_mean, time_to_best
from bots.metrics.effective import effective_task_ratio
from bots.metrics.intervals import Interval, mean_interval, paired_difference, student_t_quantile
from bots.metrics.pass_at_k import pass_at_k
from bots.metrics.predictions import Calibration, calibration
from bots.metrics.significance import holm, signed_rank_test

__all__ = [
    "Calibration",
    "Curve",
    "Interval",
    "best_so_far",
    "calibration",
    "effective_task_ratio",
    "holm",
    "mean_interval",
    "paired_difference",
    "pass_at_k",
    "running_mean",
    "signed_rank_test",
    "student_t_quantile",
    "time_to_best",
]
