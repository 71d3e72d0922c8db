"""How far measured figures are from what theory expects, and whether many of them together are too far.

Where a law gives the variance of a figure as well as its mean, the verdict needs no spread of the results, which rare
outcomes and few prompts hide. The figure X of a prompt, with mean mu, is sub-gamma with variance v and scale c if
ln E exp(s (X - mu)) and ln E exp(s (mu - X)) are at most s^2 v / (2 (1 - c s)) for 0 < s < 1 / c (Boucheron, Lugosi,
Massart, Concentration Inequalities, 2013, section 2.4). A mean over B independent prompts then is so too, with V =
sum v / B^2 and C = max c / B, whence P(|mean - theory| >= sqrt(2 V t) + C t) <= 2 exp(-t): for every law and any B.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtr, stdtrit

from .arrays import Array

LEVEL = 0.01
"""Below it the figures of a run do not agree with theory."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class TheoryCheck:
    """A metric's mean over prompts in theory, and how far the measured one is from it."""

    theory: float
    difference: float
    """Measured minus theory; NaN where chains have diverged."""
    half: float
    """Half of the difference's 95 % interval, Student's t over prompts; NaN for one prompt."""
    t: float
    """The difference over the spread of the prompts' differences, with rounding as below: a Student's t put on the
    scale of the normal law. It misleads where prompts are few, or outcomes rare; NaN for one prompt."""
    z: float
    """The difference over its standard deviation in theory; NaN where that is not known."""
    p: float
    """An upper bound of the probability, in theory, of a difference at least so large; NaN likewise."""


@dataclass(frozen=True)
class Verdict(Generic[K]):
    """All figures of a run, judged together."""

    figures: int
    """Those with a p."""
    p: float
    """An upper bound of the probability, in theory, that any of them is at least as unlikely as the one that is: theirs
    times their number (Bonferroni), at most 1; NaN without a figure. They may depend on each other."""
    unlikely: K | None
    """Which."""
    largest: float
    """The largest |z|."""

    @property
    def agrees(self) -> bool:
        """Whether p is at least 1 %; also without a figure."""
        return not self.p < LEVEL


def check_against_theory(
    measured: ArrayLike, expected: ArrayLike, variance: ArrayLike | None = None, scale: ArrayLike | None = None
) -> TheoryCheck:
    """The difference of two figures of every prompt; what the prompts share in difficulty cancels in it.

    Args:
        measured: of every prompt ``[B]``.
        expected: its exact expectation given the prompt ``[B]``.
        variance: v of the measured figure, in theory, ``[B]``; None, or not finite anywhere: not known.
        scale: c likewise, default 0, see the head of this file.

    Returns:
        The mean of the expectations, the difference and how large it is.

    Raises:
        ValueError: the shapes differ, or there is no prompt.

    >>> check = check_against_theory([1.0, 2.0, 3.5], [1.2, 2.1, 3.1], variance=[0.03, 0.03, 0.03])
    >>> print(f"{check.theory:.3f} {check.difference:+.3f} +- {check.half:.2f}, z = {check.z:.2f}, p <= {check.p:.2f}")
    2.133 +0.033 +- 0.80, z = 0.33, p <= 1.00
    """
    theory, values = np.asarray(expected, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    if theory.shape != values.shape or theory.ndim != 1 or len(theory) == 0:
        raise ValueError(f"expected: expected shape [B] as measured, got {list(theory.shape)} and {list(values.shape)}")
    with np.errstate(over="ignore", invalid="ignore"):  # chains that diverged
        differences, mean = values - theory, float(theory.mean())
        if not np.isfinite(differences).all():
            return TheoryCheck(mean, *[math.nan] * 5)
        difference = float(differences.mean())
        half, t = _of_spread(differences, mean)
        v = np.full(len(values), math.nan) if variance is None else np.asarray(variance, dtype=np.float64)
        c = np.zeros(len(values)) if scale is None else np.asarray(scale, dtype=np.float64)
        whole, largest = float(v.sum()) / len(v) ** 2, float(c.max()) / len(c)
    if not (math.isfinite(whole) and math.isfinite(largest)):
        return TheoryCheck(mean, difference, half, t, math.nan, math.nan)
    z = difference / math.sqrt(whole) if whole else math.copysign(math.inf, difference) if difference else 0.0
    return TheoryCheck(mean, difference, half, t, z, tail(difference, whole, largest))


def tail(difference: float, variance: float, scale: float) -> float:
    """Bound of P(|X - mu| >= difference) of a sub-gamma X: 2 exp(-t) where sqrt(2 v t) + c t is the difference.

    Args:
        difference: of any sign.
        variance: v.
        scale: c.

    >>> round(tail(3.0, 1.0, 0.0), 4), round(tail(3.0, 1.0, 0.5), 4)
    (0.0222, 0.2707)
    """
    size = abs(difference)
    if size == 0:
        return 1.0
    # t = 2 (size / (sqrt(2 v) + sqrt(2 v + 4 c size)))^2
    root = math.sqrt(2 * variance) + math.sqrt(2 * variance + 4 * scale * size)
    return min(1.0, 2 * math.exp(-((2 * size / root) ** 2))) if root else 0.0


def judge(checks: Mapping[K, TheoryCheck]) -> Verdict[K]:
    """The figures that have a p, together.

    Args:
        checks: by what they are of.

    >>> few = {"a": check_against_theory([1.0], [0.0], [0.04]), "b": check_against_theory([0.1], [0.0], [0.04])}
    >>> verdict = judge(few)
    >>> verdict.figures, round(verdict.p, 6), verdict.unlikely, verdict.agrees
    (2, 1.5e-05, 'a', False)
    """
    known = {key: check for key, check in checks.items() if not math.isnan(check.p)}
    if not known:
        return Verdict(0, math.nan, None, math.nan)
    unlikely = min(known, key=lambda key: (known[key].p, -abs(known[key].z)))
    p = min(1.0, len(known) * known[unlikely].p)
    return Verdict(len(known), p, unlikely, max(abs(check.z) for check in known.values()))


def _of_spread(differences: Array, theory: float) -> tuple[float, float]:
    """Half of the interval, and Student's t, NaN for one prompt. Rounding of float32 counts as error: 2^-20 of the
    theory plus its root."""
    count = len(differences)
    if count < 2:
        return math.nan, math.nan
    error = float(differences.std(ddof=1)) / math.sqrt(count)
    whole = math.hypot(error, 2.0**-20 * (abs(theory) + math.sqrt(abs(theory))))
    t = float(differences.mean()) / whole if whole else 0.0
    return float(stdtrit(count - 1, 0.975)) * error, _normal_score(t, count - 1)


def _normal_score(t: float, freedom: int) -> float:
    """The normal quantile of a Student's t."""
    tail = float(stdtr(freedom, -abs(t)))
    return math.copysign(-float(ndtri(tail)), t) if tail > 0 else math.copysign(math.inf, t)
