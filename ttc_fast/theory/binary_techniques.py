"""What votes and best-of-N make of a law of binary answers: exact probabilities, and how fast they tend to 1.

Formulas are of the law itself, an array of 2^d probabilities in the order of :func:`~.binary.bit_strings`; bounds are
Hoeffding's and Chernoff's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from ..estimators.arrays import Array
from ..numerics import check
from .binary import dim_of


def majority_probability(q: ArrayLike, votes: int) -> Array:
    """P(the majority of N says 1) where each vote does with probability q, a tie by a fair coin.

    Args:
        q: probabilities, of any shape.
        votes: N.

    Returns:
        The shape of ``q``.

    Raises:
        ValueError, TypeError: there is no vote.

    >>> majority_probability([0.5, 0.6], 3).round(12).tolist()
    [0.5, 0.648]
    """
    votes, q = check.integer("votes", votes, 1, 2**34), np.asarray(q, dtype=np.float64)
    half = votes // 2
    above = special.bdtrc(half, votes, q)
    if votes % 2:
        return np.asarray(above)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = special.gammaln(votes + 1) - 2 * special.gammaln(half + 1) + half * np.log(q * (1 - q))
    return np.asarray(above + np.exp(log) / 2)


def majority_recovery(law: Array, w_star: ArrayLike, votes: int) -> float:
    """P(the coordinate majority of N answers is w*), ties by fair coins.

    The counts of ones have the generating function (sum_w law(w) z^w)^N, summed here by Fourier transform.

    Args:
        law: of an answer ``[2^d]``.
        w_star: ``[d]``, zeros and ones.
        votes: N. It costs (N + 1)^d numbers; :func:`majority_probability` gives each coordinate at no cost.

    Raises:
        ValueError: (N + 1)^d is above 2^24.

    >>> round(majority_recovery(np.array([0.1, 0.2, 0.3, 0.4]), [1, 1], 3), 6)
    0.496
    """
    dim, votes = dim_of(law), check.integer("votes", votes, 1, 2**24)
    if (votes + 1) ** dim > 2**24:
        raise ValueError(f"votes: expected (votes + 1)^d <= 2^24, got {votes} votes for d = {dim}")
    # sum_c P(counts c) win(c) = sum_f generating(e^{i f})^N transform_of_win(f), f the frequencies of each coordinate
    ones = np.arange(votes + 1)
    wave = np.exp(2j * np.pi * ones / (votes + 1))
    generating = np.asarray(law, dtype=complex)
    for axis in range(dim):  # from the last coordinate to the first: bits become frequencies
        points = wave if axis < dim - 1 else wave[: (votes + 1) // 2 + 1]  # the others are their conjugates
        bits = generating.reshape(2 ** (dim - 1 - axis), 2, -1)
        generating = bits[:, :1] + points[:, None] * bits[:, 1:]
    value = _power(generating.ravel(), votes)
    for axis, truth in enumerate(np.asarray(w_star, dtype=np.float64)):
        win = (2 * ones > votes if truth else 2 * ones < votes) + 0.5 * (2 * ones == votes)
        transform = np.fft.fft(win) / (votes + 1)
        if axis == 0:
            transform = transform[: len(points)] * np.where(2 * ones[: len(points)] % (votes + 1) == 0, 1, 2)
        value = transform @ value.reshape(len(transform), -1)
    return float(value[0].real)


def _power(values: NDArray[np.complex128], exponent: int) -> NDArray[np.complex128]:
    """By repeated squaring: much faster than complex powers."""
    result = np.ones_like(values)
    while exponent:
        if exponent % 2:
            result = result * values
        values, exponent = values * values, exponent // 2
    return result


def plurality_right(law: Array, answer: int, votes: int) -> float:
    """P(the most frequent whole answer of N is number ``answer``), a tie by a fair draw.

    N! [z^N] int_0^1 du sum_k (p_c z)^k / k! prod_{j != c} (sum_{l<k} (p_j z)^l / l! + u (p_j z)^k / k!): the
    integral by Gauss-Legendre quadrature, exact for its degree N / k, the coefficient by Fourier transform on the
    circle |z| = N, where the counts are Poisson ones.

    Args:
        law: of an answer ``[2^d]``, or of any finite set of answers.
        answer: position of the right one.
        votes: N. It costs about 2^d N^2 ln N multiplications.

    Raises:
        ValueError, TypeError: N is not from 1 to 2^12.

    >>> round(plurality_right(np.array([0.4, 0.6]), 1, 3), 12)  # of two answers: a majority
    0.648
    """
    votes = check.integer("votes", votes, 1, 2**12)
    p = np.delete(law, answer)
    p, points = p[p > 0], 2 * votes + 64
    z = votes * np.exp(2j * np.pi * np.arange(points) / points)
    terms = np.ones((len(p), points), dtype=complex)  # (p_j z)^l / l! of the current l
    below = np.zeros_like(terms)
    own, total = np.ones(points, dtype=complex), 0.0
    # e^{-N} sum_m P(total m) z^m: divided by the Poisson probability of N
    log_poisson = votes * math.log(votes) - votes - math.lgamma(votes + 1)
    damping = np.exp(-votes * np.append(p, law[answer]))
    for k in range(1, votes + 1):
        below += terms
        terms *= p[:, None] * z / k
        own = own * law[answer] * z / k
        nodes, weights = _gauss(votes // (2 * k) + 1)
        for u, weight in zip((nodes + 1) / 2, weights / 2):
            product = np.prod((below + u * terms) * damping[:-1, None], axis=0) * own * damping[-1]
            total += weight * float((product * np.exp(-2j * np.pi * np.arange(points) * votes / points)).real.mean())
    return float(total * math.exp(-log_poisson))


@lru_cache(maxsize=4096)
def _gauss(count: int) -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(count)


def binary_best_of_n(law: Array, score: Array, value: Array, budgets: Sequence[int]) -> Array:
    """Expected value of the answer with the highest score among k.

    Args:
        law, score, budgets: see :func:`law_of_best`.
        value: what is asked of the chosen answer ``[2^d]``.

    Returns:
        ``[K]``.

    Raises:
        ValueError, TypeError: a budget is below 1.

    >>> binary_best_of_n(np.array([0.5, 0.5]), np.array([0.0, 1.0]), np.array([0.0, 1.0]), [1, 2]).tolist()
    [0.5, 0.75]
    """
    return np.asarray(law_of_best(law, score, budgets) @ value)


def law_of_best(law: Array, score: Array, budgets: Sequence[int]) -> Array:
    """The law of the answer with the highest score among k.

    P(all k at most s) - P(all k below s) for each score s; answers of equal score share by their probability.

    Args:
        law: of an answer ``[2^d]``.
        score: of every answer ``[2^d]``, without noise.
        budgets: the k.

    Returns:
        ``[K, 2^d]``.

    Raises:
        ValueError, TypeError: a budget is below 1.

    >>> law_of_best(np.array([0.5, 0.25, 0.25]), np.array([0.0, 1.0, 1.0]), [1, 2]).tolist()
    [[0.5, 0.25, 0.25], [0.25, 0.375, 0.375]]
    """
    ks = np.array([check.integer("budgets", k, 1, 2**34) for k in budgets])
    _, group = np.unique(score, return_inverse=True)
    mass = np.bincount(group, law)
    at_most = np.minimum(np.cumsum(mass) / mass.sum(), 1.0)
    chosen = np.diff(at_most ** ks[:, None], prepend=0.0, axis=1) / np.where(mass > 0, mass, 1.0)
    return np.asarray(law * chosen[:, group])


def spread_of_mean(
    answers: Array, law: Array, matrix: Array, centre: Array, budgets: Sequence[int]
) -> tuple[Array, Array]:
    """Variance of q(mean of k answers), q(w) = (w - centre)^T matrix (w - centre), and the most that it can be.

    With x = w - mu, C = E x x^T, a = 2 (mu - centre)^T A x and s = x^T A x it is E a^2 / k + 2 E a s / k^2 + Var(s) /
    k^3 + 2 (k - 1) tr(A C A C) / k^3: the sums over the candidates multiplied out. A mean lies between answers, where
    q, if it is convex, is at most that of one of them.

    Args:
        answers: ``[M, d]``.
        law: of an answer ``[M]``.
        matrix: A ``[d, d]``, symmetric, without negative eigenvalues.
        centre: ``[d]``.
        budgets: the k.

    Returns:
        ``[K]`` and a number.

    >>> spread_of_mean(np.array([[0.0], [1.0]]), np.array([0.5, 0.5]), np.eye(1), np.zeros(1), [1, 2])
    (array([0.25    , 0.140625]), array(1.))
    """
    k, mean = np.asarray(budgets, dtype=np.float64), law @ answers
    x = answers - mean
    a, s = 2 * x @ matrix @ (mean - centre), ((x @ matrix) * x).sum(1)
    pairs = matrix @ (law[:, None] * x).T @ x
    squares = law @ (s - law @ s) ** 2 + 2 * (k - 1) * (pairs * pairs.T).sum()
    variance = law @ a**2 / k + 2 * (law @ (a * s)) / k**2 + squares / k**3
    return np.maximum(variance, 0.0), np.asarray((a + s).max() + (mean - centre) @ matrix @ (mean - centre))


@dataclass(frozen=True, eq=False)
class Exponents:
    """P(wrong) <= exp(-N rate) of a vote among N; Chernoff's rate is the true one as N grows."""

    hoeffding: Array
    chernoff: Array


def majority_exponents(q: ArrayLike) -> Exponents:
    """How fast a coordinate's majority becomes right.

    Hoeffding's rate 2 (q - 1/2)^2 and Chernoff's -ln(4 q (1 - q)) / 2. Votes are right with probability ``q``; the
    rates are 0 for q <= 1/2, where more votes do not help.
    """
    q = np.maximum(np.asarray(q, dtype=np.float64), 0.5)
    with np.errstate(divide="ignore"):
        return Exponents(2 * (q - 0.5) ** 2, -np.log(4 * q * (1 - q)) / 2)


def plurality_exponents(right: float, rival: float) -> Exponents:
    """How fast the right answer beats one rival in a vote on whole answers.

    Hoeffding's rate (p_1 - p_2)^2 / 2 and Chernoff's -ln(1 - (sqrt p_1 - sqrt p_2)^2).

    Args:
        right: p_1, probability of the right answer.
        rival: p_2; where it is at least p_1, the rates are 0.

    Raises:
        ValueError, TypeError: a probability is not from 0 to 1.
    """
    check.number("right", right, 0.0, 1.0)
    check.number("rival", rival, 0.0, 1.0)
    gap = max(right - rival, 0.0)
    root = max(math.sqrt(right) - math.sqrt(rival), 0.0)
    with np.errstate(divide="ignore"):
        return Exponents(np.array(gap**2 / 2), -np.log(np.array(1 - root**2)))


def votes_needed(q: ArrayLike, failure: float) -> int:
    """Votes that make every coordinate's majority right.

    N >= ln(d / failure) / (2 min (q - 1/2)^2), by Hoeffding's inequality and the union bound.

    Args:
        q: probability of each coordinate to be right ``[d]``.
        failure: probability of any wrong coordinate.

    Raises:
        ValueError: a probability is at most 1/2.

    >>> votes_needed([0.7, 0.9], failure=0.01)
    67
    """
    q = np.asarray(q, dtype=np.float64)
    worst = float(q.min())
    if not worst > 0.5:
        raise ValueError(f"q: expected probabilities above 1/2, got {worst}: more votes do not help there")
    return math.ceil(math.log(q.size / check.number("failure", failure, 5e-324, 1.0)) / (2 * (worst - 0.5) ** 2))
