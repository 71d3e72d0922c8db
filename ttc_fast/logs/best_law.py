"""The ROC of a verifier on every prompt of a log, as the law of where its right samples stand among wrong ones.

Verifiers are good for some prompts and bad for others. So the ROC of a prompt is made of the places of its own right
samples, each known up to a binomial law, and of that of all prompts together, which counts as much as a number of right
samples: the number of largest likelihood of each right sample given the others of its prompt.
"""

from __future__ import annotations

import numpy as np

from ..estimators.arrays import Array
from ..estimators.roc import Placements, best_of_roc, placements
from ..estimators.success_law import SuccessLaw, fit_success_law, likelihood
from .log import SampleLog

SHARED = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""How many right samples the ROC of all prompts may count as."""


def laws_of_places(log: SampleLog) -> Array | None:
    """Of every prompt the law of the share of wrong samples that score above a right one ``[P, G]``, sums not of 1.

    Args:
        log: with scores and labels.

    Returns:
        The laws; None if no prompt has both right and wrong samples.
    """
    assert log.scores is not None
    assert log.labels is not None
    parts = []
    for prompts, samples in log.banks():
        found = placements(log.scores[samples], log.labels[samples])
        parts.append(found._replace(row=prompts[found.row]))
    placed = Placements(*(np.concatenate(columns) for columns in zip(*parts)))
    if not len(placed.wrong):
        return None
    total = np.bincount(placed.row, placed.weight, len(log.samples))
    pooled = fit_success_law(placed.wrong, placed.above, placed.weight / total[placed.row])  # a prompt counts once
    each = placed.weight[:, None] * pooled.posterior(placed.wrong, placed.above)
    own = np.zeros((len(log.samples), len(pooled.weights)))
    np.add.at(own, placed.row, each)
    likelihoods, others = likelihood(placed.wrong, placed.above), total[placed.row] - placed.weight

    def of_each_given_the_others(share: float) -> float:
        law = (share * pooled.weights + np.maximum(own[placed.row] - each, 0.0)) / (share + others)[:, None]
        return float(placed.weight @ np.log((law * likelihoods).sum(axis=1)))

    return np.asarray(own + max(SHARED, key=of_each_given_the_others) * pooled.weights)


def forecast_best(
    places: Array, law: SuccessLaw, again: SuccessLaw, weights: Array, log: SampleLog, budgets: tuple[int, ...]
) -> tuple[Array, Array]:
    """best@k of every prompt ``[P, K]``, and the mean over prompts for each of R other fits ``[R, K]``.

    Args:
        places: by :func:`laws_of_places`.
        law, again: of success, and the R others.
        weights: of the prompts in these ``[R, P]``.
        log: the samples.
        budgets: the k.
    """
    posterior = law.posterior(log.samples, log.correct)
    ratios = np.vstack((np.ones_like(law.weights), again.weights / np.maximum(law.weights, 1e-300)))
    values, sums = np.empty((len(places), len(budgets))), np.zeros((len(weights), len(budgets)))
    for i, (likely, placed) in enumerate(zip(posterior, places)):
        points = np.flatnonzero(likely > 1e-5)
        given = np.minimum(ratios[:, points], 1e6) * likely[points]
        means = (given / given.sum(axis=1, keepdims=True)) @ best_of_roc(placed, budgets, points)
        values[i] = means[0]
        sums += weights[:, i, None] * means[1:]
    return values, sums / len(places)
