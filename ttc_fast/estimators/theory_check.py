"""How far measured figures are from what theory expects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtr


@dataclass(frozen=True)
class TheoryCheck:
    """A metric's mean over prompts in theory, and how far the measured one is from it."""

    theory: float
    z: float
    """Mean difference over its standard error, the prompts being independent; NaN for one prompt."""


def check_against_theory(measured: ArrayLike, expected: ArrayLike) -> TheoryCheck:
    """The difference of two figures of every prompt; what the prompts share in difficulty cancels in it.

    The z-score is a Student's t of B - 1 degrees of freedom, put on the scale of the normal law. Rounding of
    float32 counts as error too: 2^-20 of the value plus its root, so that results without randomness have none.

    Args:
        measured: of every prompt ``[B]``.
        expected: its exact expectation given the prompt ``[B]``.

    Returns:
        The mean of the expectations and the z-score.

    Raises:
        ValueError: the shapes differ, or there is no prompt.

    >>> check_against_theory([1.0, 2.0, 3.5], [1.2, 2.1, 3.1]).theory
    2.1333333333333333
    """
    theory, values = np.asarray(expected, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    if theory.shape != values.shape or theory.ndim != 1 or len(theory) == 0:
        raise ValueError(f"expected: expected shape [B] as measured, got {list(theory.shape)} and {list(values.shape)}")
    difference, mean = values - theory, float(theory.mean())
    if len(difference) < 2 or not np.isfinite(difference).all():
        return TheoryCheck(mean, math.nan)
    rounding = 2.0**-20 * (abs(mean) + math.sqrt(abs(mean)))
    error = math.hypot(float(difference.std(ddof=1)) / math.sqrt(len(difference)), rounding)
    return TheoryCheck(mean, _normal_score(float(difference.mean()) / error, len(difference) - 1) if error else 0.0)


def _normal_score(t: float, freedom: int) -> float:
    """The normal quantile of a Student's t."""
    tail = float(stdtr(freedom, -abs(t)))
    return math.copysign(-float(ndtri(tail)), t) if tail > 0 else math.copysign(math.inf, t)
