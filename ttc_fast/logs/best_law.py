"""best@K from the ROC of the verifier, which is another one on every prompt.

The law of the curves over prompts, on those of estimators/roc.py, is that of largest likelihood of the orders of right
and wrong samples (nonparametric, as Laird, JASA 1978, by EM), with one prompt more to which all curves are alike; given
its order every prompt has a law of its own. best@K is the mean over that, not the best@K of a mean curve, which would
be larger: beyond the samples it takes only a little of a good curve to find a right answer.
"""

from __future__ import annotations

import numpy as np

from ..estimators.arrays import Array
from ..estimators.roc import best_of_roc, curves, label_order, order_likelihood
from ..estimators.score_levels import level_curves, score_levels
from ..estimators.success_law import SuccessLaw, climb
from .log import SampleLog

_STEPS, _STEPS_AGAIN = 300, 20
"""Of EM; from the first fit on it is soon where other weights lead."""


def orders_tell(log: SampleLog) -> bool:
    """Whether there is a prompt with both right and wrong samples.

    Args:
        log: of samples.
    """
    return bool(((log.correct > 0) & (log.correct < log.samples)).any())


def forecast_best(
    law: SuccessLaw, again: SuccessLaw, weights: Array, log: SampleLog, budgets: tuple[int, ...]
) -> tuple[Array, Array]:
    """best@k of every prompt ``[P, K]``, and the mean over prompts for each of R other fits ``[R, K]``, of the law of
    the curves too.

    Args:
        law, again: of success, and the R others.
        weights: of the prompts in these ``[R, P]``.
        log: the samples, with scores and labels.
        budgets: the k.
    """
    rights, wrongs, likelihoods = _curves(log)
    usual = np.full((1, likelihoods.shape[1]), 1 / likelihoods.shape[1])
    fitted = climb(np.ones((1, len(likelihoods))), likelihoods, usual, steps=_STEPS, settled=0.0)
    others = climb(weights, likelihoods, usual, start=fitted, steps=_STEPS_AGAIN, settled=0.0)
    best = np.stack([best_of_roc(*curve, budgets) for curve in zip(rights, wrongs)])  # [C, G, K]
    success = law.posterior(log.samples, log.correct)
    of_curves = _shares(fitted * likelihoods)
    values = np.stack([((success @ best[:, :, k].T) * of_curves).sum(axis=1) for k in range(len(budgets))], axis=1)
    ratios = np.minimum(again.weights / np.maximum(law.weights, 1e-300), 1e6)
    means = []
    for ratio, other, weight in zip(ratios, others, weights / weights.sum(axis=1, keepdims=True)):
        both = (weight[:, None] * _shares(other * likelihoods)).T @ _shares(success * ratio)
        means.append(np.tensordot(both, best, 2))
    return values, np.array(means)


def _curves(log: SampleLog) -> tuple[Array, Array, Array]:
    """Right and wrong samples of the pieces of every curve, and the likelihood of the curves on every prompt."""
    assert log.scores is not None
    assert log.labels is not None
    levels = score_levels(log.scores)
    if levels is not None:
        return level_curves(*_level_counts(log, levels))
    ends = np.cumsum(log.samples)
    parts = [slice(start, end) for start, end in zip(ends - log.samples, ends)]
    return *curves(), order_likelihood([label_order(log.scores[part], log.labels[part]) for part in parts])


def _level_counts(log: SampleLog, levels: Array) -> tuple[Array, Array]:
    assert log.scores is not None
    assert log.labels is not None
    prompts, right = np.repeat(np.arange(len(log.samples)), log.samples), log.labels > 0.5
    place = np.searchsorted(-levels, -log.scores)
    counts = np.zeros((2, len(log.samples), len(levels)))
    np.add.at(counts, (right.astype(int), prompts, place), 1)
    return counts[1], counts[0]


def _shares(weights: Array) -> Array:
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
