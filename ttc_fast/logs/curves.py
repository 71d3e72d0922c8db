"""Metrics of every prompt of a log at every budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ..estimators.arrays import Array, Integers
from ..estimators.selection import best_of_k, pass_at_k
from ..estimators.votes import (
    NoAnswer,
    Ties,
    majority_at_k,
    majority_by_score_at_k,
    weighted_vote_at_k,
)
from ..numerics import check
from ..numerics.progress import Report, reporting
from .log import SampleLog

TiesOfLogs: TypeAlias = Literal["random", "fail", "first", "score"]
"""Who wins a tied vote: as in :func:`ttc_fast.estimators.votes.majority_at_k`, or the answer with the largest sum of
scores."""


@dataclass(frozen=True)
class MetricCurve:
    """A metric of every prompt at every budget."""

    metric: str
    values: Array
    """``[P, K]``; NaN where a prompt has fewer than k samples."""
    error: Array | None = None
    """Monte Carlo standard error ``[P, K]`` of what has no closed form."""


def metric_curves(
    log: SampleLog,
    budgets: tuple[int, ...],
    *,
    ties: TiesOfLogs = "random",
    no_answer: NoAnswer = "fail",
    progress: bool | Report = False,
) -> list[MetricCurve]:
    """Every metric that the log allows, of every prompt; pass@k is the first.

    maj@k needs answers, best@k scores, weighted@k both and no negative score.

    Args:
        log: the samples.
        budgets: the k.
        ties, no_answer, progress: as for :func:`~ttc_fast.logs.analysis.analyze`.

    Returns:
        A curve for each metric, with a row for each prompt and a column for each budget.

    Raises:
        ValueError: ties are to be broken by scores, and there are none.
    """
    check.choice("ties", ties, get_args(TiesOfLogs))
    if ties == "score" and log.scores is None:
        raise ValueError("ties: expected scores to break ties by, got a log without; choose random, fail or first")
    passed = MetricCurve("pass@k", pass_at_k(log.samples, log.correct, budgets))
    with reporting(progress) as report:
        curves = [passed, *_curves_of_samples(log, budgets, ties, no_answer, report)]
        report("estimating", 1.0)
    return curves


def all_right(log: SampleLog, budgets: tuple[int, ...]) -> MetricCurve:
    """pass^k: the probability that all of k samples are correct, C(c, k) / C(n, k), of every prompt.

    Args:
        log: the samples.
        budgets: the k.
    """
    return MetricCurve("pass^k", 1 - pass_at_k(log.samples, log.samples - log.correct, budgets))


def weighs(log: SampleLog) -> bool:
    """Whether scores can weigh votes: there are answers and scores, and no score is negative.

    Args:
        log: the samples.
    """
    return log.answers is not None and log.scores is not None and bool((log.scores >= 0).all())


def _curves_of_samples(
    log: SampleLog, budgets: tuple[int, ...], ties: TiesOfLogs, no_answer: NoAnswer, report: Report
) -> list[MetricCurve]:
    """What needs a label for every sample."""
    if log.labels is None:
        return []
    prompts, done, weighted = len(log.samples), 0, weighs(log)
    arrays = {name: np.full((prompts, len(budgets)), np.nan) for name in ("maj@k", "best@k", "weighted@k")}
    errors = {name: np.full((prompts, len(budgets)), np.nan) for name in ("maj@k", "weighted@k")}
    for bank, samples in log.banks():  # `bank`: its prompts
        labels = log.labels[samples]
        part = _part_of(report, done / prompts, len(bank) / prompts)
        if log.answers is not None:
            scores = None if log.scores is None else log.scores[samples]
            votes = _majority(log.answers[samples], scores, labels, budgets, ties, no_answer, part)
            arrays["maj@k"][bank], errors["maj@k"][bank] = votes
        if log.scores is not None:
            arrays["best@k"][bank] = best_of_k(log.scores[samples], labels, budgets)
        if log.answers is not None and log.scores is not None and weighted:
            by: Ties = "random" if ties == "score" else ties
            answers, scores = log.answers[samples], log.scores[samples]
            votes = weighted_vote_at_k(answers, scores, labels, budgets, ties=by, no_answer=no_answer)
            arrays["weighted@k"][bank], errors["weighted@k"][bank] = votes
        done += len(bank)
    has = {"maj@k": log.answers is not None, "best@k": log.scores is not None, "weighted@k": weighted}
    return [
        MetricCurve(name, arrays[name], errors[name] if np.nansum(errors.get(name, 0.0)) else None)
        for name in arrays
        if has[name]
    ]


def _majority(
    answers: Integers,
    scores: Array | None,
    labels: NDArray[np.bool_],
    budgets: tuple[int, ...],
    ties: TiesOfLogs,
    no_answer: NoAnswer,
    progress: Report,
) -> tuple[Array, Array | float]:
    """maj@k of the prompts of a bank, and its Monte Carlo error."""
    if ties == "score" and scores is not None:
        return majority_by_score_at_k(answers, scores, labels, budgets, no_answer=no_answer)
    by: Ties = "random" if ties == "score" else ties
    return majority_at_k(answers, labels, budgets, ties=by, no_answer=no_answer, progress=progress), 0.0


def _part_of(report: Report, before: float, size: float) -> Report:
    """Reports the share of a part, from ``before`` on and of this size, as a share of the whole."""

    def part(stage: str, share: float) -> None:
        report("estimating", before + share * size)

    return part
