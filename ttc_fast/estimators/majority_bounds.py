"""What two samples of each prompt say about a majority of n: sharp bounds.

A vote between right and wrong of n fresh samples (all wrong answers count as one) is right with probability f_n(q),
where q is the probability of the prompt. Two samples of each prompt show the moments m1 = E q and m2 = E q^2 alone; the
bounds are the least and the largest E f_n(q) of all laws of q in [0, 1] with these moments (arXiv 2605.03379).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..numerics import check
from .arrays import Array, integers


class Bounds(NamedTuple):
    """Where a mean lies."""

    low: float
    high: float


def moments(samples: ArrayLike, correct: ArrayLike) -> tuple[float, float]:
    """Unbiased estimates of E q and E q^2 from n >= 2 samples of every prompt, c of them correct.

    Args:
        samples: n of every prompt ``[P]``.
        correct: c of every prompt ``[P]``.

    Raises:
        ValueError: a prompt has one sample only.
    """
    n, c = integers("samples", samples), integers("correct", correct)
    if n.shape != c.shape or not n.size or n.min() < 2:
        raise ValueError("samples: expected at least 2 of every prompt")
    return float((c / n).mean()), float((c * (c - 1) / (n * (n - 1))).mean())


def majority_bounds(first: float, second: float, votes: int) -> Bounds:
    """Bounds of the probability that most of ``votes`` samples are right.

    Of three votes f(q) = 3 q^2 - 2 q^3, and the bounds are 3 m2 - 2 (m2 - (m1 - m2)^2 / (1 - m1)) and
    3 m2 - 2 m2^2 / m1; of more votes they are a linear program over laws on 1,001 points.

    Args:
        first: m1 = E q.
        second: m2 = E q^2; brought into [m1^2, m1], where estimates of few prompts may leave it.
        votes: n, an odd number.

    Raises:
        ValueError: an argument is not as described.

    >>> low, high = majority_bounds(0.5, 0.3, 3)
    >>> round(low, 3), round(high, 3)
    (0.46, 0.54)
    """
    check.integer("votes", votes, 1, 999)
    if votes % 2 == 0:
        raise ValueError(f"votes: expected an odd number, got {votes}")
    if not 0 <= first <= 1:
        raise ValueError(f"first: expected a mean of probabilities, from 0 to 1, got {first}")
    m1, m2 = first, min(max(second, first * first), first)
    if votes == 1 or m1 in (0.0, 1.0):
        return Bounds(m1, m1)
    if votes == 3:
        return Bounds(3 * m2 - 2 * (m2 - (m1 - m2) ** 2 / (1 - m1)), 3 * m2 - 2 * m2 * m2 / m1)
    return _by_program(m1, m2, votes)


def _by_program(m1: float, m2: float, votes: int) -> Bounds:
    from scipy.optimize import linprog  # not at the top: it takes a tenth of a second

    q = np.union1d(np.linspace(0, 1, 1001), [m1, m2 / m1, (m1 - m2) / (1 - m1)])
    value = _majority(q, votes)
    conditions, moment = np.stack([np.ones_like(q), q, q * q]), [1.0, m1, m2]
    low, high = (linprog(sign * value, A_eq=conditions, b_eq=moment, bounds=(0, None)) for sign in (1, -1))
    if low.status or high.status:  # the moments are those of one point, to rounding
        exact = float(_majority(np.array([m1]), votes)[0])
        return Bounds(exact, exact)
    return Bounds(float(low.fun), float(-high.fun))


def _majority(q: Array, votes: int) -> Array:
    """P(Bin(n, q) > n/2)."""
    from scipy.special import betainc

    return np.asarray(betainc(votes // 2 + 1, votes // 2 + 1, q))
