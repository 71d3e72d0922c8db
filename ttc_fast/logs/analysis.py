"""Metrics of a log at every budget, with intervals over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..estimators.arrays import Array
from ..estimators.budgets import powers_of_two
from ..estimators.intervals import (
    Interval,
    PowerLaw,
    bounded_interval,
    fit_coverage,
    paired_differences,
    simultaneous_band,
)
from ..estimators.selection import best_of_k, pass_at_k
from ..estimators.votes import NoAnswer, Ties, majority_at_k, weighted_vote_at_k
from ..numerics.progress import Report, reporting
from .log import SampleLog


@dataclass(frozen=True)
class MetricCurve:
    """A metric of every prompt at every budget."""

    metric: str
    values: Array
    """``[P, K]``; NaN where a prompt has fewer than k samples."""
    error: Array | None = None
    """Monte Carlo standard error ``[P, K]`` of what has no closed form."""


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


def analyze(
    log: SampleLog,
    budgets: Sequence[int] | None = None,
    *,
    ties: Ties = "random",
    no_answer: NoAnswer = "fail",
    progress: bool | Report = False,
) -> Analysis:
    """Every metric that the log allows: pass@k; maj@k with answers; best@k with scores; with both also the
    weighted vote, if no score is negative.

    Args:
        log: the samples, as :func:`~ttc_fast.logs.reader.read` gives them.
        budgets: samples k that a technique may spend; by default 1, 2, 4, ... up to the samples that every
            prompt has.
        ties: who wins a tied vote: a fair draw, nobody, or the answer sampled first.
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
    least, most = int(log.samples.min()), int(log.samples.max())
    chosen = tuple(sorted(set(budgets or powers_of_two(least))))
    if not 1 <= chosen[0] <= chosen[-1] <= most:
        raise ValueError(f"budgets: expected numbers from 1 to {most}, the most samples of a prompt, got {chosen}")
    curves = metric_curves(log, chosen, ties=ties, no_answer=no_answer, progress=progress)
    common = [i for i, k in enumerate(chosen) if k <= least]
    complete = log.samples >= chosen[-1]
    return Analysis(
        log,
        chosen,
        tuple(curves),
        tuple(_point(curve, i, k) for curve in curves for i, k in enumerate(chosen)),
        _bands(curves, chosen, common),
        fit_coverage(curves[0].values[complete], chosen) if np.count_nonzero(complete) > 1 else None,
        tuple(_differences(curves, chosen, common)),
    )


def metric_curves(
    log: SampleLog,
    budgets: tuple[int, ...],
    *,
    ties: Ties = "random",
    no_answer: NoAnswer = "fail",
    progress: bool | Report = False,
) -> list[MetricCurve]:
    """Every metric that the log allows, of every prompt; pass@k is the first.

    Args:
        log: the samples.
        budgets: the k.
        ties, no_answer, progress: as for :func:`analyze`.

    Returns:
        A curve for each metric, with a row for each prompt and a column for each budget.
    """
    passed = MetricCurve("pass@k", pass_at_k(log.samples, log.correct, budgets))
    with reporting(progress) as report:
        curves = [passed, *_curves_of_samples(log, budgets, ties, no_answer, report)]
        report("estimating", 1.0)
    return curves


def _curves_of_samples(
    log: SampleLog, budgets: tuple[int, ...], ties: Ties, no_answer: NoAnswer, report: Report
) -> list[MetricCurve]:
    """What needs a label for every sample."""
    if log.labels is None:
        return []
    answers, scores = log.answers, log.scores
    prompts = len(log.samples)
    vote, best, weighted, error = np.full((4, prompts, len(budgets)), np.nan)
    weighs = answers is not None and scores is not None and bool((scores >= 0).all())
    done = 0
    for bank, samples in log.banks():  # `bank`: its prompts
        labels = log.labels[samples]
        if answers is not None:
            part = _part_of(report, done / prompts, len(bank) / prompts)
            vote[bank] = majority_at_k(answers[samples], labels, budgets, ties=ties, no_answer=no_answer, progress=part)
        if scores is not None:
            best[bank] = best_of_k(scores[samples], labels, budgets)
        if answers is not None and scores is not None and weighs:
            weighted[bank], error[bank] = weighted_vote_at_k(answers[samples], scores[samples], labels, budgets)
        done += len(bank)
    found = [MetricCurve("maj@k", vote)] if answers is not None else []
    found += [MetricCurve("best@k", best)] if scores is not None else []
    return found + ([MetricCurve("weighted@k", weighted, error)] if weighs else [])


def _part_of(report: Report, before: float, size: float) -> Report:
    """Reports the share of a part, from ``before`` on and of this size, as a share of the whole."""

    def part(stage: str, share: float) -> None:
        report("estimating", before + share * size)

    return part


def _point(curve: MetricCurve, column: int, k: int) -> MetricPoint:
    values = curve.values[:, column]
    values = values[~np.isnan(values)]
    interval = bounded_interval(values)
    return MetricPoint(curve.metric, k, interval.mean, interval.low, interval.high, len(values))


def _bands(
    curves: Sequence[MetricCurve], budgets: tuple[int, ...], common: list[int]
) -> dict[tuple[str, int], Interval]:
    """``common``: the columns of the budgets that every prompt has."""
    if not common:
        return {}
    return {
        (curve.metric, budgets[i]): band
        for curve in curves
        for i, band in zip(common, simultaneous_band(curve.values[:, common]))
    }


def _differences(curves: Sequence[MetricCurve], budgets: tuple[int, ...], common: list[int]) -> list[MetricDifference]:
    """Every technique against a single sample, and every two against each other."""
    if not common or budgets[common[-1]] == 1:
        return []
    passed = curves[0].values[:, common]
    metrics = {"single": np.broadcast_to(passed[:, :1], passed.shape)} if budgets[0] == 1 else {}
    metrics |= {curve.metric: curve.values[:, common] for curve in curves[1:]} | {"pass@k": passed}
    names = list(metrics)
    return [
        MetricDifference(other, one, budgets[common[-1]], paired_differences(metrics[other], metrics[one])[-1])
        for n, one in enumerate(names)
        for other in names[n + 1 :]
    ]
