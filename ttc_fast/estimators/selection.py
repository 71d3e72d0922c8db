"""What a budget of k samples would give, estimated from a bank of N: unbiased, for all budgets at once.

Every estimator is the average over all subsets of k of the N samples, in closed form, so it uses every
sample, has no luck of the draw, and is unbiased for k fresh samples. Arrays are ``[prompt, sample]`` in
and ``[prompt, budget]`` out, float64; a budget above a prompt's number of samples gives NaN.

Sources: pass@k, Chen et al., arXiv 2107.03374, section 2.1; the others are the same average over subsets
(Hoeffding's U-statistic, 1948) of a maximum, a vote (votes.py) and a mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..numerics import check
from ..numerics.tiles import tiles
from .arrays import Array as Array
from .arrays import bank, floats, integers
from .budgets import sizes

NEGLIGIBLE = 60.0
"""Subsets of a share below e^-60 of all are left out: far below the rounding of a float64 sum."""

_TILE = 2**21
"""Numbers in a temporary array: 16 MB."""


def pass_at_k(samples: ArrayLike, correct: ArrayLike, budgets: Sequence[int]) -> Array:
    """Probability that at least one of k samples is correct, 1 - C(n-c, k) / C(n, k).

    The product of (n-c-i) / (n-i) is summed as logarithms, so that a small probability keeps its digits.

    Args:
        samples: n of every prompt ``[P]``, integers of at least 1.
        correct: c of every prompt ``[P]``, integers from 0 to n.
        budgets: the k, integers of at least 1.

    Returns:
        ``[P, K]``.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> pass_at_k([4, 4], [1, 2], [1, 2]).round(3).tolist()
    [[0.25, 0.5], [0.5, 0.833]]
    """
    n, c = integers("samples", samples), integers("correct", correct)
    ks = sizes(budgets)
    if n.shape != c.shape or n.ndim != 1:
        raise ValueError(f"correct: expected shape [P] as samples, got {list(n.shape)} and {list(c.shape)}")
    if len(n) and not (n.min() >= 1 and (c >= 0).all() and (c <= n).all()):
        raise ValueError("correct: expected 0 <= correct <= samples and samples >= 1 for every prompt")
    (n, c), inverse = np.unique(np.stack((n, c)), axis=1, return_inverse=True)
    result = np.full((len(n), len(ks)), np.nan)
    longest = int(np.minimum(ks, n.max(initial=1) + 1).max())
    for rows in tiles(len(n), _TILE // longest):
        i = np.arange(longest)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.minimum(c[rows, None] / (n[rows, None] - i), 1.0)
            missed = np.cumsum(np.log1p(-share), axis=1)
        result[rows] = -np.expm1(missed[:, np.minimum(ks, longest) - 1])
    result[ks > n[:, None]] = np.nan
    return result[inverse.reshape(-1)]


def best_of_k(score: ArrayLike, value: ArrayLike, budgets: Sequence[int]) -> Array:
    """Expected value of the sample with the highest score among k.

    sum_i C(i-1, k-1) / C(N, k) value_(i), samples sorted by ascending score; samples of equal score share
    their weight, which is a fair draw among them.

    Args:
        score: what selects ``[P, N]``, for example a verifier's score.
        value: of every sample ``[P, N]``: whether it is correct, or its error.
        budgets: the k, integers of at least 1.

    Returns:
        ``[P, K]``.

    Raises:
        TypeError, ValueError: an argument is not as described, or NaN.

    >>> best_of_k([[0.1, 0.9, 0.5]], [[0.0, 1.0, 0.0]], [1, 2, 3]).round(3).tolist()
    [[0.333, 0.667, 1.0]]
    """
    score, value = bank("score", score), bank("value", value)
    if score.shape != value.shape:
        raise ValueError(f"value: expected shape {list(score.shape)} as score, got {list(value.shape)}")
    ks, samples = sizes(budgets), score.shape[1]
    best_first = ranked(score, value)
    result = np.full((len(score), len(ks)), np.nan)
    order = np.argsort(ks)
    order = order[ks[order] <= samples]
    while len(order):  # the budgets of one product are within a factor 2: their weights are about as long
        block = order[ks[order] < 2 * ks[order[0]]]
        weights = selection_weights(samples, ks[block])
        result[:, block] = best_first[:, : weights.shape[1]] @ weights.T
        order = order[len(block) :]
    return result


def selection_weights(samples: int, budgets: ArrayLike) -> Array:
    """Probability that the best of k of N samples is the one of rank j (0 is the best).

    C(N-1-j, k-1) / C(N, k), as the product of 1 - (k-1)/(N-1-i) over i < j.

    Args:
        samples: N.
        budgets: the k ``[K]``, integers from 1 to N.

    Returns:
        ``[K, J]``, where J leaves out ranks with a probability below e^-60 of the first.

    >>> selection_weights(3, [1, 2]).round(3).tolist()
    [[0.333, 0.333, 0.333], [0.667, 0.333, 0.0]]
    """
    ks = np.asarray(budgets, dtype=np.int64)
    least = int(ks.min())
    ranks = samples - least + 1
    if least > 1:
        ranks = min(ranks, int(NEGLIGIBLE * samples / (least - 1)) + 1)
    remaining = samples - 1 - np.arange(ranks - 1)
    with np.errstate(divide="ignore"):
        steps = np.log1p(-np.minimum((ks[:, None] - 1) / remaining, 1.0))
    exponent = np.concatenate((np.zeros((len(ks), 1)), np.cumsum(steps, axis=1)), axis=1)
    return np.asarray(ks[:, None] / samples * np.exp(exponent))


def ranked(score: Array, value: Array) -> Array:
    """Values from the best score to the worst, those of equal score replaced by their mean.

    Args:
        score: ``[P, N]``, higher is better.
        value: ``[P, N]``.

    Returns:
        ``[P, N]``, by rank.
    """
    order = np.argsort(-score, axis=1, kind="stable")
    score, value = np.take_along_axis(score, order, 1), np.take_along_axis(value, order, 1)
    new = np.ones(score.shape, dtype=bool)
    new[:, 1:] = score[:, 1:] != score[:, :-1]
    tied = ~new.all(axis=1)
    starts = np.flatnonzero(new[tied])  # every row begins a run of equal scores
    if len(starts):
        lengths = np.diff(starts, append=new[tied].size)
        means = np.add.reduceat(value[tied].ravel(), starts) / lengths
        value[tied] = np.repeat(means, lengths).reshape(-1, value.shape[1])
    return value


def mean_of_k(mean_of_errors: ArrayLike, error_of_mean: ArrayLike, samples: int, budgets: Sequence[int]) -> Array:
    """Expected quadratic error of the mean of k samples.

    For q(w) = (w - c)^T A (w - c) + constant the average over subsets is exactly
    q(mean of all N) + (N-k) / (k (N-1)) (mean of q over the samples - q(mean of all N)).

    Args:
        mean_of_errors: mean over the N samples of their error q ``[P]``.
        error_of_mean: error q of the mean of all N samples ``[P]``.
        samples: N.
        budgets: the k, integers of at least 1.

    Returns:
        ``[P, K]``.

    Raises:
        TypeError, ValueError: the budgets are not as described.

    >>> mean_of_k([1.0], [0.0], 4, [1, 2, 4]).round(3).tolist()  # samples 1, 1, -1, -1 of 0
    [[1.0, 0.333, 0.0]]
    """
    ks, samples = sizes(budgets), check.integer("samples", samples, 1, 2**62)
    single, whole = floats("mean_of_errors", mean_of_errors), floats("error_of_mean", error_of_mean)
    if single.ndim != 1 or whole.shape != single.shape:
        raise ValueError(
            f"error_of_mean: expected shape [P] as mean_of_errors, got {list(whole.shape)} and {list(single.shape)}"
        )
    share = (samples - ks) / (ks * max(samples - 1, 1))
    with np.errstate(invalid="ignore", over="ignore"):  # chains that diverged
        result = whole[:, None] + share * (single - whole)[:, None]
    result[:, ks > samples] = np.nan
    return np.asarray(result)
