"""From one figure per prompt to figures with intervals.

Prompts are the independent unit: the samples of one prompt share its difficulty, so every interval of a
mean is over prompts. Coverage of the intervals, measured: see README-estimators.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri, stdtrit

from .estimators import Array


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
    """Mean, median and Student's t interval of the mean of independent prompts' values ``[B]``.

    With one prompt the interval is NaN. The mean over prompts is heavy-tailed where some prompts make
    the chain diverge; the median is not.
    """
    array = _prompts(values)
    with np.errstate(invalid="ignore", over="ignore"):  # chains that diverged
        return Summary(*t_interval(array, confidence), float(np.median(array)))


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent values ``[B]``; NaN with a single one."""
    array, level = _prompts(values), _level(confidence)
    mean, half = float(array.mean()), float("nan")
    if len(array) > 1:
        half = float(stdtrit(len(array) - 1, (1 + level) / 2) * array.std(ddof=1) / np.sqrt(len(array)))
    return Interval(mean, mean - half, mean + half)


def bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Bootstrap-t interval of the mean of independent values ``[B]`` (Efron, 1981): asymmetric where they are
    skewed. NaN with a single value.

    Args:
        values: one for each prompt.
        confidence: nominal.
        resamples: of the prompts, with replacement.
        seed: of the resampling.
    """
    array, level = _prompts(values), _level(confidence)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, float("nan"), float("nan"))
    chance, t = np.random.default_rng(seed), np.zeros(resamples)
    for r in range(resamples):
        drawn = array[chance.integers(len(array), size=len(array))]
        deviation = drawn.std(ddof=1)
        t[r] = (drawn.mean() - mean) / deviation if deviation else 0.0
    low, high = np.quantile(t, [(1 - level) / 2, (1 + level) / 2]) * array.std(ddof=1)
    return Interval(mean, float(mean - high), float(mean - low))


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a binomial probability (1927)."""
    n, k, z = _binomial(successes, trials, confidence)
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(k * (n - k) / n + z * z / 4)
    return Interval(k / n, float(max(0.0, centre - half)), float(min(1.0, centre + half)))


def beta_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Clopper and Pearson's interval of a binomial probability (1934), quantiles of Beta laws: it covers
    with at least the confidence, whatever the probability."""
    n, k, _ = _binomial(successes, trials, confidence)
    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Interval(k / n, low, high)


def simultaneous_band(
    values: ArrayLike, confidence: float = 0.95, *, draws: int = 20_000, seed: int = 0
) -> list[Interval]:
    """Intervals of the means of the columns of ``[B, K]``, which hold together with the confidence.

    The pointwise t interval widened to the quantile of the largest of K correlated t statistics (a sup-t
    band, Montiel Olea and Plagborg-Moller, Journal of Applied Econometrics 2019), simulated with the
    columns' own correlation.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"values: expected shape [B, K], got {list(array.shape)}")
    prompts = len(array)
    means = array.mean(axis=0)
    if prompts < 2:
        return [Interval(float(m), float("nan"), float("nan")) for m in means]
    deviation = array.std(axis=0, ddof=1)
    moving = deviation > 0
    factor = 0.0
    if moving.any():
        standard = (array[:, moving] - means[moving]) / deviation[moving]
        # Rows of normals times the data have the data's correlation, without its K x K root.
        _, scale, axes = np.linalg.svd(standard / np.sqrt(prompts - 1), full_matrices=False)
        chance = np.random.default_rng(seed)
        z = chance.standard_normal((draws, len(scale))) @ (scale[:, None] * axes)
        chi = np.sqrt(chance.chisquare(prompts - 1, size=draws) / (prompts - 1))
        factor = float(np.quantile(np.abs(z).max(axis=1) / chi, _level(confidence)))
    half = factor * deviation / np.sqrt(prompts)
    return [Interval(float(m), float(m - h), float(m + h)) for m, h in zip(means, half)]


def paired_difference(one: ArrayLike, other: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean of ``one - other`` over the same prompts ``[B]``, with its t interval: what two techniques share,
    the difficulty of the prompts, cancels."""
    first, second = _prompts(one), _prompts(other)
    if first.shape != second.shape:
        raise ValueError(f"other: expected the same {len(first)} prompts as one, got {len(second)}")
    return t_interval(first - second, confidence)


class PowerLaw(NamedTuple):
    """Coverage as -ln pass@k = scale * k^-exponent."""

    scale: float
    exponent: float
    exponent_low: float
    exponent_high: float


def fit_coverage(values: ArrayLike, budgets: Sequence[int], confidence: float = 0.95) -> PowerLaw | None:
    """The power law of repeated sampling, ln(-ln pass@k) linear in ln k (Brown et al., arXiv 2407.21787),
    by least squares over the budgets; the interval is over prompts, by linearisation.

    Args:
        values: pass@k of every prompt ``[B, K]``.
        budgets: the K budgets.

    Returns:
        None with fewer than 3 budgets at which the mean lies strictly between 0 and 1.
    """
    array = np.asarray(values, dtype=np.float64)
    mean = array.mean(axis=0)
    inside = (mean > 0) & (mean < 1 - 1e-12)
    if inside.sum() < 3:
        return None
    mean, array = mean[inside], array[:, inside]
    x = np.log(np.asarray(budgets, dtype=np.float64)[inside])
    y = np.log(-np.log(mean))
    leverage = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    slope = float(leverage @ y)
    # d slope / d mean_k = leverage_k / (mean_k ln mean_k): one influence for each prompt
    _, low, high = t_interval(-(array - mean) @ (leverage / (mean * np.log(mean))) - slope, confidence)
    return PowerLaw(float(np.exp(y.mean() - slope * x.mean())), -slope, low, high)


def _prompts(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"values: expected one number for each prompt, shape [B], got {list(array.shape)}")
    return array


def _level(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}; 0.95 is 95 %")
    return confidence


def _binomial(successes: int, trials: int, confidence: float) -> tuple[int, int, float]:
    if not (0 <= successes <= trials and trials >= 1):
        raise ValueError(f"successes: expected 0 <= successes <= trials, trials >= 1, got {successes} of {trials}")
    return trials, successes, float(ndtri((1 + _level(confidence)) / 2))
