"""Metrics of a log at every budget, with intervals over prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..estimators.arrays import Array, Integers
from ..estimators.budgets import powers_of_two
from ..estimators.clusters import cluster_columns
from ..estimators.intervals import (
    Interval,
    PowerLaw,
    bounded_interval,
    fit_coverage,
    paired_differences,
    simultaneous_band,
)
from ..estimators.majority_bounds import Bounds, majority_bounds, moments
from ..estimators.votes import NoAnswer
from ..numerics.progress import Report
from .curves import MetricCurve as MetricCurve
from .curves import TiesOfLogs, all_right, weighs
from .curves import metric_curves as metric_curves
from .log import SampleLog
from .log_checks import asked_budgets, check_log


@dataclass(frozen=True)
class MetricPoint:
    """A metric at one budget, over the prompts with at least k samples."""

    metric: str
    k: int
    mean: float
    ci_low: float
    ci_high: float
    prompts: int


@dataclass(frozen=True)
class MetricDifference:
    """Two metrics on the same prompts at one budget."""

    one: str
    other: str
    k: int
    interval: Interval
    """Of the means, ``one - other``."""


@dataclass(frozen=True)
class Analysis:
    """What :func:`analyze` returns."""

    log: SampleLog
    budgets: tuple[int, ...]
    curves: tuple[MetricCurve, ...]
    points: tuple[MetricPoint, ...]
    bands: dict[tuple[str, int], Interval]
    """By metric and k: intervals that hold together over all budgets with 95 %; only up to the samples that every
    prompt has."""
    fit: PowerLaw | None
    differences: tuple[MetricDifference, ...]
    """Paired, at the largest budget that every prompt has."""
    all_right: MetricCurve
    """pass^k: all of k samples are correct."""
    further: tuple[MetricPoint, ...]
    """pass^k, and the tokens that k samples take, where lengths are known; the interval of tokens is NaN."""
    fit_prompts: int
    """Prompts with as many samples as the largest budget, of which the fit is made."""
    majority_bounds: dict[int, Bounds]
    """By an odd number of votes: where a majority between right and wrong lies, by what two samples of each prompt
    show; empty where a prompt has one sample, or few prompts show no possible moments."""
    notes: tuple[str, ...] = ()
    """What the user should know, of the log and of the figures."""


def analyze(
    log: SampleLog,
    budgets: Sequence[int] | None = None,
    *,
    ties: TiesOfLogs = "random",
    no_answer: NoAnswer = "fail",
    progress: bool | Report = False,
) -> Analysis:
    """Every metric that the log allows: pass@k, pass^k; maj@k with answers; best@k with scores; with both also the
    weighted vote, if no score is negative. Means are over prompts; intervals over prompts, or over their clusters.

    Args:
        log: the samples, as :func:`~ttc_fast.logs.reader.read` gives them.
        budgets: samples k that a technique may spend; by default 1, 2, 4, ... up to the samples that every
            prompt has.
        ties: who wins a tied vote: a fair draw, nobody, the answer sampled first, or that with the largest sum of
            scores.
        no_answer: samples without answer vote for failure, or do not vote.
        progress: True shows the share of the prompts that is done; see :mod:`ttc_fast.numerics.progress`.

    Returns:
        Curves of every prompt, their means with intervals over prompts, and the fit of coverage.

    Raises:
        ValueError: a budget is above the samples of every prompt.

    >>> import numpy as np
    >>> log = SampleLog("plain", np.arange(2), np.array([2, 2]), np.array([1, 2]), None, None, None, None, 0, 0, ())
    >>> [(point.metric, point.k, point.mean) for point in analyze(log).points]
    [('pass@k', 1, 0.75), ('pass@k', 2, 1.0)]
    """
    check_log("log", log)
    least, most = int(log.samples.min()), int(log.samples.max())
    chosen = tuple(sorted(set(asked_budgets(budgets) or powers_of_two(least))))
    if not 1 <= chosen[0] <= chosen[-1] <= most:
        raise ValueError(f"budgets: expected numbers from 1 to {most}, the most samples of a prompt, got {chosen}")
    curves = metric_curves(log, chosen, ties=ties, no_answer=no_answer, progress=progress)
    common = [i for i, k in enumerate(chosen) if k <= least]
    complete = log.samples >= chosen[-1]
    right, few = all_right(log, chosen), np.count_nonzero(complete) < 2
    fitted = _units(curves[0].values[complete], None if log.clusters is None else log.clusters[complete])
    return Analysis(
        log,
        chosen,
        tuple(curves),
        tuple(_point(log, curve, i, k) for curve in curves for i, k in enumerate(chosen)),
        _bands(log, curves, chosen, common),
        None if few else fit_coverage(fitted, chosen),
        tuple(_differences(log, curves, chosen, common)),
        right,
        (*(_point(log, right, i, k) for i, k in enumerate(chosen)), *_tokens(log, chosen)),
        int(np.count_nonzero(complete)),
        _majority_bounds(log),
        (*log.notes, *_notes(log)),
    )


def _units(values: Array, clusters: Integers | None) -> Array:
    """What is independent of each other ``[B, K]``: prompts, or clusters of them."""
    return values if clusters is None else cluster_columns(values, clusters)


def _notes(log: SampleLog) -> list[str]:
    told = []
    if log.answers is not None and log.scores is not None and not weighs(log):
        told.append(
            f"weighted@k is left out: scores are weights of votes there, and the least is {log.scores.min():.4g}; "
            "give scores of at least 0, such as exp of log-probabilities"
        )
    if log.clusters is not None:
        told.append(f"intervals are over {len(np.unique(log.clusters)):,} clusters of prompts")
    return told


def _tokens(log: SampleLog, budgets: tuple[int, ...]) -> list[MetricPoint]:
    """Tokens of k samples, the mean over the prompts that have as many."""
    lengths = log.tokens_of_prompts()
    if lengths is None:
        return []
    having = [log.samples >= k for k in budgets]
    return [
        MetricPoint("tokens", k, float(k * lengths[has].mean()), math.nan, math.nan, int(has.sum()))
        for k, has in zip(budgets, having)
    ]


def _majority_bounds(log: SampleLog) -> dict[int, Bounds]:
    if log.samples.min() < 2:
        return {}
    first, second = moments(log.samples, log.correct)
    if not first**2 < second < first:  # estimates of few prompts need not be the moments of a law
        return {}
    return {votes: majority_bounds(first, second, votes) for votes in (3, 5, 9)}


def _point(log: SampleLog, curve: MetricCurve, column: int, k: int) -> MetricPoint:
    values = curve.values[:, column]
    has = ~np.isnan(values)
    units = _units(values[has, None], None if log.clusters is None else log.clusters[has])[:, 0]
    interval = bounded_interval(units)
    return MetricPoint(curve.metric, k, interval.mean, interval.low, interval.high, int(has.sum()))


def _bands(
    log: SampleLog, curves: Sequence[MetricCurve], budgets: tuple[int, ...], common: list[int]
) -> dict[tuple[str, int], Interval]:
    """``common``: the columns of the budgets that every prompt has."""
    if not common:
        return {}
    return {
        (curve.metric, budgets[i]): band
        for curve in curves
        for i, band in zip(common, simultaneous_band(_units(curve.values[:, common], log.clusters)))
    }


def _differences(
    log: SampleLog, curves: Sequence[MetricCurve], budgets: tuple[int, ...], common: list[int]
) -> list[MetricDifference]:
    """Every technique against a single sample, and every two against each other."""
    if not common or budgets[common[-1]] == 1:
        return []
    passed = _units(curves[0].values[:, common], log.clusters)
    metrics = {"single": np.broadcast_to(passed[:, :1], passed.shape)} if budgets[0] == 1 else {}
    metrics |= {curve.metric: _units(curve.values[:, common], log.clusters) for curve in curves[1:]} | {
        "pass@k": passed
    }
    names = list(metrics)
    return [
        MetricDifference(other, one, budgets[common[-1]], paired_differences(metrics[other], metrics[one])[-1])
        for n, one in enumerate(names)
        for other in names[n + 1 :]
    ]
