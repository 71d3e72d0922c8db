"""The error of the median of k of N samples, as the mean over all subsets of k, by order statistics.

The r-th smallest of k of N numbers has rank j (from 0) in C(j, r-1) C(N-1-j, k-r) of the C(N, k) subsets. For an odd k
that is the median; for an even one it is the mean of the middle two, a and b: E (a + b)^2 / 4 takes E a b too. Given
that b has rank j, the others below it are any of the j before, so that a is the largest of k/2 of them, whose mean m_j
follows from that of one less: m_{j+1} = (1 - h) m_j + h a_j with h = (k/2) / (j+1), the share of subsets that have
the last one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, bank, floats
from .budgets import sizes

NEGLIGIBLE = 1e-30
"""Ranks with a probability below it are left out, so that no time is spent there."""


class Middle(NamedTuple):
    """The law of the middle of k of N samples: the squared error of the median is
    sum_j square[j] a_j^2 + cross[j] a_j m_j over the ranks j, where a_j is the error of the sample of that rank."""

    square: Array
    """``[N]``."""
    cross: Array
    """``[N]``; 0 for an odd k."""
    start: int
    """The first rank that matters, for square, cross or the means m."""
    stop: int
    """The rank after the last one."""
    half: int
    """k/2 for an even k, 0 for an odd one."""


@functools.lru_cache(maxsize=64)
def middle(samples: int, k: int) -> Middle:
    """The law of the middle of k samples.

    Args:
        samples: N.
        k: from 1 to N.

    >>> middle(3, 3).square.tolist(), middle(3, 2).cross.round(3).tolist()
    ([0.0, 1.0, 0.0], [0.0, 0.167, 0.333])
    """
    lower, upper = rank_law(samples, k, (k + 1) // 2), rank_law(samples, k, k // 2 + 1)
    if k % 2:
        ranks = np.flatnonzero(lower)
        return Middle(lower, np.zeros(samples), int(ranks[0]), int(ranks[-1]) + 1, 0)
    ranks = np.flatnonzero(lower + upper)
    start = _start(int(np.flatnonzero(upper)[0]), k // 2)
    return Middle((lower + upper) / 4, upper / 2, start, int(ranks[-1]) + 1, k // 2)


def rank_law(samples: int, k: int, r: int) -> Array:
    """Probability of each rank (from 0) of the r-th smallest of k samples: ``[N]``, 0 where it is negligible.

    Args:
        samples: N.
        k: from 1 to N.
        r: from 1 to k.

    >>> rank_law(4, 2, 1).round(9).tolist()
    [0.5, 0.333333333, 0.166666667, 0.0]
    """
    first, last = r - 1, samples - 1 - (k - r)
    j = np.arange(first, last, dtype=np.float64)
    ratio = (j + 1) / (j + 2 - r) * (samples - 1 - j - (k - r)) / (samples - 1 - j)  # of rank j + 1 to rank j
    top = int(np.searchsorted(-ratio, -1.0))  # ratios fall: the likeliest rank is after those above 1
    law = np.zeros(samples)
    law[first + top] = 1.0
    law[first + top + 1 : last + 1] = np.cumprod(ratio[top:])
    law[first : first + top] = np.cumprod(1 / ratio[:top][::-1])[::-1]
    law /= law.sum()
    law[law < NEGLIGIBLE] = 0.0
    return law


def _start(first: int, half: int) -> int:
    """From which rank on the means below must be known, to be right from rank ``first`` on: of subsets of half of the
    first, a negligible share has none that comes later."""
    t = np.arange(first, half - 1, -1, dtype=np.float64)
    shares = np.cumprod((t - half) / t)  # C(i, half) / C(first, half) for i = first - 1, first - 2, ...
    enough = np.flatnonzero(shares < NEGLIGIBLE)
    return max(half - 1, first - 1 - int(enough[0])) if len(enough) else half - 1


def squared_error_of_median(values: ArrayLike, target: ArrayLike, budgets: Sequence[int]) -> Array:
    """(median of k - target)^2, mean over all subsets of k of the samples; of an even number the median is the mean
    of the middle two.

    Args:
        values: numbers ``[P, N]``, infinite ones included.
        target: ``[P]``.
        budgets: the k, integers of at least 1.

    Returns:
        ``[P, K]``; NaN where k is above N, infinity where an infinite number may be in the middle.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> squared_error_of_median([[0.0, 1.0, 5.0]], [0.0], [1, 2, 3]).round(3).tolist()
    [[8.667, 5.167, 1.0]]
    """
    rows, aim, ks = bank("values", values), floats("target", target), sizes(budgets)
    if aim.shape != rows.shape[:1]:
        raise ValueError(f"target: expected shape [P] = [{len(rows)}], got {list(aim.shape)}")
    samples = rows.shape[1]
    a = np.sort(rows, axis=1).T - aim
    found = np.full((len(ks), len(rows)), np.nan)
    for i, k in enumerate(ks):
        if k <= samples:
            found[i] = _of_sorted(a, middle(samples, int(k)))
    result: Array = found.T
    return result


def _of_sorted(a: Array, law: Middle) -> Array:
    """``[P]`` of errors ``[N, P]`` in ascending order."""
    total, below = np.zeros(a.shape[1]), np.zeros(a.shape[1])
    with np.errstate(invalid="ignore"):
        for j in range(law.start, law.stop):
            total += law.square[j] * a[j] ** 2
            if law.half:
                drawn = 1.0 if j == law.start else law.half / (j + 1)
                total += law.cross[j] * (a[j] * below)
                below = (1 - drawn) * below + drawn * a[j]
    return np.where(np.isnan(total), np.inf, total)  # such as inf * inf - inf * 1
