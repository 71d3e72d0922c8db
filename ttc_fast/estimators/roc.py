"""Best-of-K from the ROC of a verifier, beyond the samples that were drawn.

Of a prompt whose samples are right with probability p, with T the share of right and F the share of wrong samples whose
score is above a threshold, the best of K is right with probability (Dorner et al., arXiv 2507.12399)

    A(p, K) = int K (1 - p T - (1-p) F)^{K-1} p dT   over the ROC curve T(F);

of a curve of straight pieces a sum of ``p dT / (p dT + (1-p) dF) [(1 - p T - (1-p) F)^K]`` from piece to piece. As K
grows it tends to p s / (p s + 1 - p), s the slope of the curve at 0, which few samples do not show, by no method.

T(F) is the distribution function of the share F of wrong samples that score above a right one. It is taken to be one of
:func:`curves`, binormal (Dorfman, Alf, J. Math. Psych. 6, 1969): T = Phi(steepness (Phi^-1(F) - middle)). What the
scores of a prompt tell of it is the order of its right and wrong samples, whose probability
:func:`order_likelihood` gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from .arrays import Array
from .budgets import sizes
from .success_law import GRID

MIDDLES, STEEPNESSES = np.linspace(-4.0, 2.0, 17), (0.5, 1.0, 2.0, 4.0)
"""Of the curves: at which quantile F of the wrong samples half of the right ones lie, and how close to it. Above 1 the
curve is flat at 0, so that large K find wrong samples only: those of an answer that the verifier prefers."""

BEST = 48
"""Of an order the best so many are followed one by one; of the others counts."""

_CELLS, _BLOCK = 64, 32


def curves() -> tuple[Array, Array]:
    """The curves: shares of right and of wrong samples in straight pieces, from the best scores on ``[C, G]``. Of the
    wrong ones the pieces are those between points of the grid."""
    edges = np.concatenate(([-np.inf], ndtri((GRID[1:] + GRID[:-1]) / 2), [np.inf]))
    right = np.stack([np.diff(ndtr(steep * (edges - middle))) for steep in STEEPNESSES for middle in MIDDLES])
    return right, np.broadcast_to(np.diff(GRID, prepend=0.0), right.shape)


def _cells() -> tuple[Array, Array]:
    """Shares of right and of wrong samples in cells, from the best scores on, that hold as much of both together: ``[C,
    cells]`` each."""
    z, level, right, wrong = np.linspace(-9, 9, 4001), np.arange(1, _CELLS) / _CELLS, [], []
    for steep in STEEPNESSES:
        for middle in MIDDLES:
            inner = np.interp(level, (ndtr(z) + ndtr(steep * (z - middle))) / 2, z)
            edges = np.concatenate(([-np.inf], inner, [np.inf]))
            right.append(np.diff(ndtr(steep * (edges - middle))))
            wrong.append(np.diff(ndtr(edges)))
    return np.stack(right), np.stack(wrong)


def label_order(score: ArrayLike, correct: ArrayLike) -> NDArray[np.bool_]:
    """Whether the best, the second best, ... sample is right; right and wrong ones of equal score alternate evenly.

    Args:
        score: of a verifier, higher is better ``[N]``.
        correct: whether each sample is right ``[N]``.

    >>> label_order([0.1, 0.9, 0.5, 0.5, 0.5], [0, 1, 0, 1, 0]).astype(int).tolist()
    [1, 0, 1, 0, 0]
    """
    scores, right = np.asarray(score, dtype=np.float64), np.asarray(correct) > 0.5
    order = np.lexsort((right, -scores))
    scores, right = scores[order], right[order]
    kind = np.cumsum(np.concatenate(([0], (np.diff(scores) != 0) | (right[1:] != right[:-1]))))
    start, size = np.unique(kind, return_index=True, return_counts=True)[1:]
    within = (np.arange(len(right)) - start[kind] + 0.5) / size[kind]
    return np.asarray(right[np.lexsort((within, -scores))])


def order_likelihood(orders: Sequence[NDArray[np.bool_]]) -> Array:
    """Probability of each order, were its ROC one of the curves, over that of the likeliest: ``[P, C]``.

    Places of samples are integrated from the best one on, cell by cell; two within a cell count half for either order.

    Args:
        orders: by :func:`label_order`, one for each prompt.

    >>> good, bad = order_likelihood([np.array([True] * 4 + [False] * 4), np.array([False] * 4 + [True] * 4)])
    >>> bool((good * curves()[0][:, :90].sum(axis=1)).sum() / good.sum() > 0.9)  # right ones among the best half
    True
    """
    cells = _cells()
    log = np.empty((len(orders), len(cells[0])))
    by_length = np.argsort([len(one) for one in orders], kind="stable")
    for rows in np.split(by_length, np.arange(_BLOCK, len(orders), _BLOCK)):
        log[rows] = _of_block([orders[row] for row in rows], *cells)
    return np.asarray(np.exp(log - log.max(axis=1, keepdims=True)))


def _of_block(orders: list[NDArray[np.bool_]], right: Array, wrong: Array) -> Array:
    lengths = np.array([len(one) for one in orders])
    followed = min(BEST, int(lengths.max()))
    padded = np.zeros((len(orders), followed), dtype=bool)
    for row, one in zip(padded, orders):
        row[: len(one)] = one[:followed]
    last, before, log = (
        np.ones((len(orders), *right.shape)),
        np.ones((len(orders), *right.shape)),
        np.zeros((len(orders), len(right))),
    )
    for i in range(followed):
        there = (i < lengths)[:, None, None]
        each = before * np.where(padded[:, i, None, None], right, wrong)
        sums = np.cumsum(each, axis=2)
        total = np.maximum(sums[:, :, -1:], 1e-300)
        last, before = np.where(there, each / total, last), np.where(there, (sums - each / 2) / total, before)
        log = log + np.where(there, np.log(total), 0.0)[:, :, 0]
    counts = np.array([[one[followed:].sum(), (~one[followed:]).sum()] for one in orders], dtype=np.float64)
    below = [np.log(np.maximum(1 - (np.cumsum(part, axis=1) - part / 2), 1e-300)) for part in (right, wrong)]
    rest = counts[:, :1, None] * below[0] + counts[:, 1:, None] * below[1]
    most = rest.max(axis=2, keepdims=True)
    return np.asarray(log + most[:, :, 0] + np.log(np.maximum((last * np.exp(rest - most)).sum(axis=2), 1e-300)))


def best_of_roc(right: Array, wrong: Array, budgets: Sequence[int]) -> Array:
    """Probability that the sample of highest score among K is right, of prompts of every success probability.

    Args:
        right, wrong: shares of right and of wrong samples in the pieces of the curve, from the best scores on ``[C]``.
            Those of a piece are in any order.
        budgets: the K, integers of at least 1.

    Returns:
        ``[G, K]``, by the points p of the grid.

    Raises:
        TypeError, ValueError: the budgets are not as described.

    >>> coin = np.diff(GRID, prepend=0.0)  # T(F) = F: the verifier knows nothing
    >>> bool(np.allclose(best_of_roc(coin, coin, [1, 100]), GRID[:, None]))
    True
    """
    p = GRID[:, None]
    true, false = p * right / right.sum(), (1 - p) * wrong / wrong.sum()
    both = true + false
    share = np.divide(true, both, out=np.zeros_like(both), where=both > 0)
    left = np.clip(1 - np.cumsum(both, axis=1), 0.0, 1.0)  # [G, pieces]
    before = np.hstack((np.ones_like(p), left[:, :-1]))
    return np.stack([(share * (before**k - left**k)).sum(axis=1) for k in sizes(budgets).tolist()], axis=1)
