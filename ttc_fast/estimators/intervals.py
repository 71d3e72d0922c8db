"""From one figure per prompt to figures with intervals.

Prompts are the independent unit: the samples of one prompt share its difficulty, so every interval of a
mean is over prompts. How often the intervals cover, measured: see README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

from ..numerics import check
from .arrays import Array


class Interval(NamedTuple):
    """A figure and where it lies with the stated confidence."""

    mean: float
    low: float
    high: float


class Summary(NamedTuple):
    """A metric over prompts."""

    mean: float
    ci_low: float
    ci_high: float
    median: float


def summarize(values: ArrayLike, confidence: float = 0.95) -> Summary:
    """Mean, median and Student's t interval of the mean of independent prompts' values.

    The mean over prompts is heavy-tailed where some prompts make the chain diverge; the median is not.

    Args:
        values: one for each prompt ``[B]``.
        confidence: of the interval, between 0 and 1.

    Returns:
        The summary; with one prompt its interval is NaN.

    Raises:
        ValueError: an argument is not as described.

    >>> summary = summarize([1.0, 2.0, 3.0])
    >>> print(f"{summary.mean} [{summary.ci_low:.2f}, {summary.ci_high:.2f}]")
    2.0 [-0.48, 4.48]
    """
    array, level = _vector(values), _level(confidence)
    with np.errstate(invalid="ignore", over="ignore"):  # chains that diverged
        mean, half = float(array.mean()), float("nan")
        if len(array) > 1:
            half = float(stdtrit(len(array) - 1, (1 + level) / 2) * array.std(ddof=1) / np.sqrt(len(array)))
        return Summary(mean, mean - half, mean + half, float(np.median(array)))


def bounded_interval(values: ArrayLike, confidence: float = 0.95, *, low: float = 0.0, high: float = 1.0) -> Interval:
    """Interval of the mean of independent values that lie between two bounds.

    What few prompts hide is a rare one at the other end. So each limit counts one prompt more, there, and is a
    quantile of the mean under weights uniform on the simplex (Gaffke, Mathematical Methods of Statistics 2005;
    Learned-Miller and Thomas, arXiv 1905.06208, conjecture that it covers for every law). Of values at the bounds
    only, such as 0 and 1, this is Clopper and Pearson's interval, and computed as such; else the quantile is that of
    Wilson and Hilferty (PNAS 1931), from three exact moments.

    Args:
        values: one for each prompt ``[B]``.
        confidence: of the interval, between 0 and 1.
        low: the least that a value can be.
        high: the most that a value can be.

    Returns:
        The interval; with one prompt it is NaN.

    Raises:
        ValueError: an argument is not as described.

    >>> interval = bounded_interval([1.0] * 10)  # all of 10 prompts solved
    >>> print(f"{interval.mean} [{interval.low:.2f}, {interval.high:.2f}]")
    1.0 [0.69, 1.00]
    """
    return _limits(_vector(values), _normal_quantile(confidence), low, high)


def _limits(values: Array, score: float, low: float, high: float) -> Interval:
    """:func:`bounded_interval`, with its confidence as a quantile of the normal law."""
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"))
    if ((values == low) | (values == high)).all():
        return _clopper_pearson(mean, int((values == high).sum()), len(values), float(ndtr(-score)), low, high)
    lower = _weighted_mean_quantile(np.append(values, low), -score)
    upper = _weighted_mean_quantile(np.append(values, high), score)
    return Interval(mean, max(lower, low), min(upper, high))


def _clopper_pearson(mean: float, at_high: int, n: int, tail: float, low: float, high: float) -> Interval:
    """Of ``at_high`` of n values at the upper bound, the others at the lower one (Biometrika 1934)."""
    least = betaincinv(at_high, n - at_high + 1, tail) if at_high else 0.0
    most = betaincinv(at_high + 1, n - at_high, 1 - tail) if at_high < n else 1.0
    return Interval(mean, float(low + (high - low) * least), float(low + (high - low) * most))


def _weighted_mean_quantile(values: Array, score: float) -> float:
    """Quantile of sum_i D_i values_i, D ~ Dirichlet(1, ..., 1), at the level of a normal law's quantile ``score``."""
    n, mean = len(values), values.mean()
    centred = values - mean
    spread = np.sqrt((centred * centred).mean())
    if spread == 0:
        return float(mean)
    centred /= spread
    skew = 2 * (centred * centred * centred).mean() * np.sqrt(n + 1) / (n + 2)
    u = skew * (score / 6 - skew / 36)
    return float(mean + spread / np.sqrt(n + 1) * (score / 3 - skew / 18) * (3 + u * (3 + u)))


def simultaneous_band(
    values: ArrayLike, confidence: float = 0.95, *, draws: int = 20_000, seed: int = 0
) -> list[Interval]:
    """Intervals of means at several budgets, which hold together with the confidence.

    :func:`bounded_interval` at the quantile of the largest of K correlated normal scores (a sup-t band, Montiel
    Olea and Plagborg-Moller, Journal of Applied Econometrics 2019), simulated with the correlation of the
    columns and of the prompts that the limits count in.

    Args:
        values: a metric of every prompt at K budgets ``[B, K]``, in [0, 1].
        confidence: of all K intervals together, between 0 and 1.
        draws: of the K normal scores.
        seed: of the draws.

    Returns:
        K intervals; with one prompt they are NaN.

    Raises:
        ValueError: an argument is not as described.
    """
    array = _matrix(values)
    counted = np.vstack([array, np.zeros(array.shape[1]), np.ones(array.shape[1])])
    correlation = np.atleast_2d(np.corrcoef(counted, rowvar=False))
    rng = np.random.default_rng(seed)
    z = rng.multivariate_normal(np.zeros(len(correlation)), correlation, size=draws, method="eigh")
    score = max(_normal_quantile(confidence), float(np.quantile(np.abs(z).max(axis=1), confidence)))
    return [_limits(column, score, 0.0, 1.0) for column in array.T]


def paired_differences(one: ArrayLike, other: ArrayLike, confidence: float = 0.95) -> list[Interval]:
    """Means of ``one - other`` over the same prompts: the difficulty of the prompts, which both share, cancels.

    Differences of most prompts are far from their bounds -1 and 1. So the prompt that a limit of
    :func:`bounded_interval` counts in has the largest difference that any prompt shows in this column or one
    before, 1 if none shows any: where a large budget solves nearly every prompt, smaller ones still show how much
    prompts differ.

    Args:
        one: a metric of every prompt at K increasing budgets ``[B, K]``, in [0, 1]; NaN where a prompt has none.
        other: likewise ``[B, K]``, of the same prompts at the same budgets.
        confidence: of each interval, between 0 and 1.

    Returns:
        K intervals; with one prompt they are NaN.

    Raises:
        ValueError: the shapes differ, or an argument is not as described.
    """
    first, second = _matrix(one), _matrix(other)
    if first.shape != second.shape:
        raise ValueError(f"other: expected the same prompts and budgets {list(first.shape)}, got {list(second.shape)}")
    differences = first - second
    differences[np.abs(differences) < 1e-12] = 0.0  # rounding is no difference
    reach = np.maximum.accumulate(np.nanmax(np.abs(differences), axis=0))
    return [
        bounded_interval(column[~np.isnan(column)], confidence, low=-bound, high=bound)
        for column, bound in zip(differences.T, np.where(reach > 0, reach, 1.0))
    ]


@dataclass(frozen=True)
class PowerLaw:
    """Coverage as -ln pass@k = scale * k^-exponent."""

    scale: float
    exponent: float
    exponent_low: float
    exponent_high: float


def fit_coverage(values: ArrayLike, budgets: Sequence[int], confidence: float = 0.95) -> PowerLaw | None:
    """The power law of repeated sampling, ln(-ln pass@k) linear in ln k, by least squares over the budgets.

    Source: Brown et al., arXiv 2407.21787. The interval is over prompts, like :func:`bounded_interval` by
    linearisation: its lower limit counts a prompt that is never solved, its upper limit one that is solved at every
    budget but the first.

    Args:
        values: pass@k of every prompt ``[B, K]``.
        budgets: the K budgets.
        confidence: of the interval of the exponent, between 0 and 1.

    Returns:
        The law, with one prompt without interval (NaN); None with fewer than 3 budgets at which the mean lies strictly
        between 0 and 1.

    Raises:
        ValueError: an argument is not as described.
    """
    array = _matrix(values)
    mean = array.mean(axis=0)
    inside = (mean > 0) & (mean < 1 - 1e-12)
    if inside.sum() < 3:
        return None
    array, x = array[:, inside], np.log(np.asarray(budgets, dtype=np.float64)[inside])
    leverage = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    y = np.log(-np.log(array.mean(axis=0)))
    slope, score = float(leverage @ y), _normal_quantile(confidence)
    low = high = float("nan")
    if len(array) > 1:
        low = -_slope_quantile(np.vstack([array, np.zeros(len(x))]), leverage, score)
        high = -_slope_quantile(np.vstack([array, np.arange(len(x)) > 0]), leverage, -score)
    return PowerLaw(float(np.exp(y.mean() - slope * x.mean())), -slope, low, high)


def _slope_quantile(values: Array, leverage: Array, score: float) -> float:
    """The slope of ln(-ln mean) under random weights of the prompts, linear in the mean."""
    mean = values.mean(axis=0)
    influence = (values - mean) @ (leverage / (mean * np.log(mean)))
    return float(leverage @ np.log(-np.log(mean))) + _weighted_mean_quantile(influence, score)


def _vector(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"values: expected one number for each prompt, shape [B], got {list(array.shape)}")
    return array


def _matrix(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"values: expected shape [B, K], got {list(array.shape)}")
    return array


def _level(confidence: float) -> float:
    confidence = check.number("confidence", confidence)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}; 0.95 is 95 %")
    return confidence


def _normal_quantile(confidence: float) -> float:
    """The two-sided quantile of the normal law: 1.96 for 95 %."""
    return float(ndtri((1 + _level(confidence)) / 2))
