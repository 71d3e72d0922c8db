"""The law of the probability with which a sample of a prompt succeeds, estimated from counts: c of n samples.

Given its probability p a prompt's successes are binomial, so that counts follow a mixture of binomials over the law of
p. What N samples tell of that law are its first N moments: many laws have the same likelihood, and differ in what they
say of K > N samples. Two estimates:

* the beta law of largest likelihood (:func:`fit_beta`): two parameters, stiff;
* any law on a grid (:func:`fit_success_law`): the one of largest ``sum_i ln f(c_i) + pull sum_g b_g ln w_g``, where b
  is the beta law. Without pull it is the nonparametric maximum-likelihood estimate (Laird, JASA 1978); the pull, which
  weighs as much as so many prompts, decides where the counts do not. The sum is concave; EM climbs it.

Mixtures as a forecast of pass@k: Levi, arXiv 2410.16377; Schaeffer et al., 2502.17578; Kazdan et al., 2510.05197.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import betainc, betaln

from ..numerics import check
from .arrays import Array, Integers, floats, integers

_HALF = np.geomspace(1e-5, 0.5, 90)
GRID: Array = np.concatenate(([0.0], _HALF[:-1], [0.5], 1 - _HALF[-2::-1], [1.0]))
"""Probabilities that a law on a grid gives weight to: dense towards 0 and 1."""
_EDGES: Array = np.concatenate(([0.0], (GRID[1:] + GRID[:-1]) / 2, [1.0]))

PULL = 10.0
"""Of the beta law, in prompts; on the counts of README.md, of 100 to 1,060 prompts, 4 to 30 are about as good."""

_STEPS = 600
"""Of EM, at most."""


class Beta(NamedTuple):
    """A beta law."""

    a: float
    b: float

    def mean_pass(self, budgets: ArrayLike) -> Array:
        """E[1 - (1-p)^k] of every k."""
        return np.asarray(-np.expm1(betaln(self.a, self.b + np.asarray(budgets)) - betaln(self.a, self.b)))

    def on_grid(self) -> Array:
        """Its weight at every point of :data:`GRID`, that of the points nearest to it."""
        return np.diff(betainc(self.a, self.b, _EDGES))


@dataclass(frozen=True)
class SuccessLaw:
    """Laws of success on the grid, one or several."""

    weights: Array
    """``[..., G]``, sums of 1."""

    def mean_pass(self, budgets: ArrayLike) -> Array:
        """E[1 - (1-p)^k], pass@k over prompts of this law: ``[..., K]``."""
        return np.asarray(self.weights @ pass_of(budgets))

    def posterior(self, samples: ArrayLike, correct: ArrayLike) -> Array:
        """The law of p given the counts of a prompt, of one law.

        Args:
            samples, correct: n and c of every prompt ``[P]``.

        Returns:
            ``[P, G]``.
        """
        weights = likelihood(integers("samples", samples), integers("correct", correct)) * self.weights
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def quantile(self, level: float) -> float:
        """The least point of the grid below which or at which lies this much of the law; of one law."""
        return float(GRID[min(int(np.searchsorted(np.cumsum(self.weights), level - 1e-12)), len(GRID) - 1)])


def usual_pull(prompts: int) -> float:
    """:data:`PULL`, but at most a tenth of the prompts."""
    return min(PULL, prompts / 10)


def pass_of(budgets: ArrayLike) -> Array:
    """1 - (1-p)^k of the grid's points ``[G, K]``."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(np.log1p(-GRID)[:, None] * np.asarray(budgets)))


def likelihood(samples: Integers, correct: Integers) -> Array:
    """Of every point of the grid, over that of the likeliest.

    Args:
        samples, correct: n and c of every prompt ``[P]``.

    Returns:
        ``[P, G]``, the largest of a row 1.
    """
    n, c = samples[:, None], correct[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(c > 0, c * np.log(GRID), 0.0) + np.where(c < n, (n - c) * np.log1p(-GRID), 0.0)
    return np.asarray(np.exp(log - log.max(axis=1, keepdims=True)))


def fit_beta(samples: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> Beta:
    """The beta law of largest likelihood (of the beta-binomial law of the counts).

    Args:
        samples, correct: n and c of every prompt ``[P]``.
        weights: how often each prompt counts ``[P]``, default once.

    Returns:
        The law, its parameters within e^-8 and e^8.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> law = fit_beta([10] * 4, [2, 4, 6, 8])
    >>> print(f"{law.a:.2f} {law.b:.2f}")  # more spread than a binomial law has; symmetric
    4.27 4.27
    """
    n, c, h = _counts(samples, correct, weights)
    share = h / h.sum()

    def loss(t: Array) -> tuple[float, Array]:
        a, b = np.exp(t)
        terms = betaln(c + a, n - c + b) - betaln(a, b)
        step = 1e-6
        up = [betaln(c + x, n - c + y) - betaln(x, y) for x, y in ((a * (1 + step), b), (a, b * (1 + step)))]
        return -float(share @ terms), np.array([-float(share @ (u - terms)) / step for u in up])

    mean = float(np.clip((share @ (c / n)), 1e-3, 1 - 1e-3))
    found = minimize(loss, np.log([mean, 1 - mean]), jac=True, method="L-BFGS-B", bounds=[(-8.0, 8.0)] * 2)
    return Beta(*np.exp(found.x).tolist())


def fit_success_law(
    samples: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None, *, pull: ArrayLike | None = None
) -> SuccessLaw:
    """The law on the grid of largest likelihood, pulled towards the beta law; see above.

    Args:
        samples, correct: n and c of every prompt ``[P]``.
        weights: how often each prompt counts ``[P]``, default once; or ``[R, P]``, of R fits at once.
        pull: how many prompts the beta law weighs as much as; 0: maximum likelihood by itself, up to the end of EM. One
            number, or one for each fit ``[R]``; default :func:`usual_pull` of the prompts.

    Returns:
        The law, or the R laws.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> law = fit_success_law([8] * 200, [0] * 100 + [4] * 100)  # what 100 prompts fail 8 times some may solve later
    >>> law.mean_pass([1, 8, 100]).round(2).tolist()
    [0.25, 0.52, 0.61]
    """
    n, c, h = _counts(samples, correct, weights)
    asked = usual_pull(len(n)) if pull is None else pull
    pulls = np.broadcast_to(floats("pull", asked), (1 if h.ndim == 1 else len(h),))[:, None]
    if not ((pulls >= 0) & np.isfinite(pulls)).all():
        raise ValueError(f"pull: expected numbers of at least 0, got {check.shown(pull)}")
    rows, inverse = np.unique(np.stack((n, c)), axis=1, return_inverse=True)
    each = np.atleast_2d(h)
    counts = np.zeros((len(each), rows.shape[1]))
    for r, line in enumerate(each):
        counts[r] = np.bincount(inverse.reshape(-1), line, rows.shape[1])
    base = np.stack([fit_beta(rows[0], rows[1], line).on_grid() for line in counts])
    fitted = climb(counts, likelihood(rows[0], rows[1]), np.maximum(base, 1e-15), pulls)
    return SuccessLaw(fitted if h.ndim == 2 else fitted[0])


def climb(
    counts: Array,
    likelihoods: Array,
    base: Array,
    pull: float | Array = 1.0,
    *,
    start: Array | None = None,
    steps: int = _STEPS,
    settled: float = 1e-6,
) -> Array:
    """Laws of largest likelihood by EM, pulled towards others: ``[R, G]``.

    Args:
        counts: how often each row of likelihoods was seen ``[R, U]``.
        likelihoods: ``[U, G]``.
        base: the laws they are pulled towards ``[R, G]``.
        pull: how many rows these weigh as much as, a number or ``[R, 1]``.
        start: where EM begins; default at the base.
        steps: at most.
        settled: it ends where a step moves no law by as much.
    """
    base = base / base.sum(axis=1, keepdims=True)
    weights, total = base if start is None else start, counts.sum(axis=1, keepdims=True) + pull
    for _ in range(steps):
        density = weights @ likelihoods.T
        after = (weights * ((counts / density) @ likelihoods) + pull * base) / total
        moved = float(np.abs(after - weights).sum(axis=1).max())
        weights = after
        if moved < settled:
            break
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _counts(samples: ArrayLike, correct: ArrayLike, weights: ArrayLike | None) -> tuple[Integers, Integers, Array]:
    n, c = integers("samples", samples), integers("correct", correct)
    if n.ndim != 1 or n.shape != c.shape or len(n) == 0:
        raise ValueError(f"correct: expected shape [P] as samples, got {list(n.shape)} and {list(c.shape)}")
    if not (n.min() >= 1 and (c >= 0).all() and (c <= n).all()):
        raise ValueError("correct: expected 0 <= correct <= samples and samples >= 1 for every prompt")
    h = np.ones(len(n)) if weights is None else np.asarray(weights, dtype=np.float64)
    if h.shape[-1] != len(n) or h.ndim > 2 or not (h >= 0).all() or not (h.sum(axis=-1) > 0).all():
        raise ValueError(f"weights: expected at least 0 and a positive sum, shape [P] or [R, P], got {list(h.shape)}")
    return n, c, h
