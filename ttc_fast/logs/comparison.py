"""Two logs of the same prompts, compared prompt by prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..estimators.arrays import Array, Integers
from ..estimators.clusters import cluster_columns
from ..estimators.intervals import Interval, paired_differences
from ..estimators.votes import NoAnswer
from ..numerics import check
from ..numerics.progress import Report
from .analysis import Analysis
from .curves import TiesOfLogs, metric_curves
from .log import SampleLog
from .log_checks import check_log


@dataclass(frozen=True)
class LogDifference:
    """A metric of two logs at one budget, over the prompts with at least k samples in both."""

    metric: str
    k: int
    mean: float
    other_mean: float
    difference: Interval
    """Of the means, ``mean - other_mean``."""
    prompts: int


@dataclass(frozen=True)
class LogComparison:
    """What :func:`compare_logs` returns."""

    other: SampleLog
    matched: int
    """Prompts that both logs have."""
    differences: tuple[LogDifference, ...]


def compare_logs(
    result: Analysis,
    other: SampleLog,
    *,
    ties: TiesOfLogs = "random",
    no_answer: NoAnswer = "fail",
    progress: bool | Report = False,
) -> LogComparison:
    """The metrics of an analysis against those of another log over the same prompts, at the budgets of both.

    Args:
        result: the analysis of the one log, by :func:`~ttc_fast.logs.analysis.analyze`.
        other: the other log.
        ties, no_answer, progress: as for :func:`~ttc_fast.logs.analysis.analyze`.

    Returns:
        Paired differences of every metric that both logs have.

    Raises:
        ValueError: the logs have no prompt in common, or no budget.

    >>> import numpy as np
    >>> from ttc_fast.logs.analysis import analyze
    >>> def counts(c):
    ...     n = np.array([4, 4])
    ...     return SampleLog("counts", np.arange(2), n, np.array(c), None, None, None, None, 0, 0, ())
    >>> compared = compare_logs(analyze(counts([1, 3]), [1, 2]), counts([1, 1]))
    >>> [(pair.metric, pair.k, round(pair.difference.mean, 3)) for pair in compared.differences]
    [('pass@k', 1, 0.25), ('pass@k', 2, 0.25)]
    """
    check.has("result", result, ("log", "budgets", "curves"), "what ttc_fast.analyze returns")
    check_log("result.log", result.log)
    check_log("other", other)
    ours, theirs = match_prompts(result.log, other)
    budgets = tuple(k for k in result.budgets if k <= other.samples[theirs].max())
    if not budgets:
        raise ValueError(
            f"budgets: expected one up to {other.samples[theirs].max()}, the most samples of a prompt in against, "
            f"got {result.budgets}"
        )
    curves = metric_curves(other, budgets, ties=ties, no_answer=no_answer, progress=progress)
    others = {curve.metric: curve.values[theirs] for curve in curves}
    differences: list[LogDifference] = []
    for curve in result.curves:
        if curve.metric in others:
            values = curve.values[ours, : len(budgets)]
            clusters = None if result.log.clusters is None else result.log.clusters[ours]
            differences += _log_differences(curve.metric, budgets, values, others[curve.metric], clusters)
    return LogComparison(other, len(ours), tuple(differences))


def match_prompts(one: SampleLog, other: SampleLog) -> tuple[Integers, Integers]:
    """Where in each log the prompts are that both have, in the order of the first log.

    Args:
        one: the one log.
        other: the other log.

    Returns:
        Indices ``[M]`` into the prompts of the one and of the other.

    Raises:
        ValueError: they have none in common; or prompts are known by their row, and there are not equally many.
    """
    if (one.by_row or other.by_row) and len(one.prompts) != len(other.prompts):
        raise ValueError(
            f"against: expected {len(one.prompts)} prompts, since a matrix is matched row by row, "
            f"got {len(other.prompts)}; give both the same rows"
        )
    _, ours, theirs = np.intersect1d(one.prompts, other.prompts, assume_unique=True, return_indices=True)
    if not len(ours):
        raise ValueError(
            f"against: expected prompts that files has too, got none of its {len(one.prompts)} among "
            f"{len(other.prompts)}; name the same prompts alike in both"
        )
    order = np.argsort(ours)  # the order of the first log, not of the alphabet
    return ours[order], theirs[order]


def _log_differences(
    metric: str, budgets: tuple[int, ...], one: Array, other: Array, clusters: Integers | None
) -> list[LogDifference]:
    both = ~np.isnan(one + other)
    columns = np.flatnonzero(both.any(axis=0))
    here, there = (np.where(both, part, np.nan)[:, columns] for part in (one, other))
    if clusters is not None:
        here, there = cluster_columns(here, clusters), cluster_columns(there, clusters)
    differences = paired_differences(here, there) if len(columns) else []
    return [
        LogDifference(
            metric,
            budgets[i],
            float(one[both[:, i], i].mean()),
            float(other[both[:, i], i].mean()),
            difference,
            int(both[:, i].sum()),
        )
        for i, difference in zip(columns, differences)
    ]
