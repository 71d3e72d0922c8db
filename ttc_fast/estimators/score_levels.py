"""The ROC of a verifier whose scores take few values: yes or no, one to five stars, the share of tests passed.

Of such a verifier a share of the samples has the best score of all, among which it cannot choose; best@K tends to the
share of right ones among those. On every prompt the shares of right and of wrong samples at the levels are those of all
prompts, moved and stretched: z, the quantile of the normal distribution of the share above a level, becomes
``stretch z + move``, with one pair of numbers for the right and one for the wrong samples of a prompt (the cumulative
probit model, McCullagh, JRSS B 42, 1980, with effects of each prompt). With two levels that is every pair of shares.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from .arrays import Array, floats

MOVES = tuple((stretch, move) for stretch in (0.5, 1.0, 2.0) for move in np.linspace(-4.0, 4.0, 11).tolist())

MOST, SAMPLES_EACH = 32, 10
"""Scores of at most so many values, each of at least so many samples in the mean, are few."""


def score_levels(scores: ArrayLike) -> Array | None:
    """The values of scores, from the best on, or None if they are not few.

    Args:
        scores: of all samples ``[N]``.

    >>> score_levels([0, 1, 1, 0] * 10)
    array([1., 0.])
    >>> score_levels(np.linspace(0, 1, 40)) is None
    True
    """
    values = np.unique(floats("scores", scores))[::-1]
    return values if len(values) <= min(MOST, np.size(scores) / SAMPLES_EACH) else None


def moved_shares(counts: Array) -> Array:
    """Shares at the levels, those of all prompts moved and stretched by each of :data:`MOVES`: ``[moves, levels]``.

    Args:
        counts: of samples at the levels from the best on, of all prompts ``[levels]``; half a sample is added to each.

    >>> moved_shares(np.array([30.0, 30.0]))[[4, 5, 6]].round(3)
    array([[0.212, 0.788],
           [0.5  , 0.5  ],
           [0.788, 0.212]])
    """
    above = np.cumsum(counts + 0.5)
    stretch, move = np.array(MOVES).T[:, :, None]
    edges = ndtr(stretch * ndtri(above[:-1] / above[-1]) + move)
    return np.diff(edges, prepend=0.0, append=1.0, axis=1)


def level_curves(right: Array, wrong: Array) -> tuple[Array, Array, Array]:
    """The curves that a prompt may have, and what the samples of each prompt tell of them.

    Args:
        right, wrong: numbers of right and of wrong samples of every prompt at the levels ``[P, levels]``, best first.

    Returns:
        Shares of right samples at the levels and of wrong ones, ``[C, levels]`` each, and the likelihood of each curve
        over that of the likeliest ``[P, C]``.
    """
    rights, wrongs = moved_shares(right.sum(axis=0)), moved_shares(wrong.sum(axis=0))
    first, second = np.array(list(product(range(len(MOVES)), repeat=2))).T
    of_right, of_wrong = (
        counts @ np.log(np.maximum(shares, 1e-300)).T for counts, shares in ((right, rights), (wrong, wrongs))
    )
    log = of_right[:, first] + of_wrong[:, second]
    return rights[first], wrongs[second], np.exp(log - log.max(axis=1, keepdims=True))
