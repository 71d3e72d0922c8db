"""Where to spend a budget of C = N T chain steps: on longer chains or on more of them.

The error of the mean of N after T thoughts is bias(T) + variance(T) / N for every task, so that curves of bias and
variance decide. They come from :func:`bias_and_variance` (mean over simulated prompts, exact given each), from
:func:`ttc_fast.theory.ensemble.exact_curve`, or from its limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..decoding.gaussian_chain import affine
from ..decoding.rules import GaussianNoise
from ..estimators.arrays import Array
from ..numerics import check, sums
from ..tasks.quadratic import Quadratic


@dataclass(frozen=True)
class Split:
    """A way to spend a budget."""

    steps: int
    """T."""
    samples: int
    """N."""
    error: float
    """Of the mean of the samples."""


def bias_and_variance(state: Tensor, rule: GaussianNoise, metric: Quadratic, steps: int) -> tuple[Tensor, Tensor]:
    """bias(T) and variance(T) of every prompt for T = 1, 2, ..., from w_0 = 0.

    Args:
        state: ``[B, d, d+1]``, of any preconditioner.
        rule: noise, in units of w.
        metric: of the error, see :func:`ttc_fast.tasks.quadratic.quadratic`.
        steps: the longest T.

    Returns:
        bias and variance, ``[B, T]`` each.

    >>> import ttc_fast as tf
    >>> from ttc_fast.tasks.quadratic import quadratic
    >>> prompts = tf.LinearRegression(4, 16, label_noise=0.1).sample(3)
    >>> state = tf.LinearAttention.gradient_descent(4, examples=16).prefill(prompts).linear
    >>> bias, variance = bias_and_variance(state, tf.GaussianNoise(0.2), quadratic(prompts, "squared_error"), steps=8)
    >>> best_split(bias.mean(0).detach(), variance.mean(0).detach(), budget=64).steps
    8
    """
    M, c = affine(state)
    scales = rule.scales(check.integer("steps", steps, 1, 2**20)).tolist()
    check.room(32 * steps * len(M), "steps: the curves of all prompts", "ask for fewer steps or prompts")
    bias, variance = torch.empty(2, len(M), steps, dtype=torch.float64)
    if torch.equal(M, M.mT):  # in the eigenbasis every coordinate has a chain of its own
        a, axes = sums.eigh(M)
        turned = Quadratic(
            sums.products(sums.products(axes.mT, metric.matrix), axes), _turned(axes, metric.centre), metric.constant
        )
        c, mean, spread = _turned(axes, c), torch.zeros_like(c), torch.zeros_like(c)
        diagonal = turned.matrix.diagonal(dim1=1, dim2=2)
        for t, scale in enumerate(scales):
            mean, spread = a * mean + c, a * a * spread + scale**2
            bias[:, t], variance[:, t] = turned(mean), (diagonal * spread).sum(1)
        return bias, variance
    eye, mean, covariance = torch.eye(M.shape[1], dtype=torch.float64), torch.zeros_like(c), torch.zeros_like(M)
    for t, scale in enumerate(scales):
        mean = sums.products(M, mean[:, :, None])[:, :, 0] + c
        covariance = sums.products(sums.products(M, covariance), M.mT) + scale**2 * eye
        bias[:, t], variance[:, t] = metric(mean), (metric.matrix * covariance).sum((1, 2))
    return bias, variance


def _turned(axes: Tensor, w: Tensor) -> Tensor:
    """``w [B, d]`` in the basis of ``axes [B, d, d]``."""
    turned: Tensor = sums.products(axes.mT, w[:, :, None])[:, :, 0]
    return turned


def best_split(bias: ArrayLike, variance: ArrayLike, budget: int) -> Split:
    """The best split of a budget into steps and samples.

    The T of least bias(T) + variance(T) / N, N = budget // T.

    Args:
        bias: for T = 1, 2, ..., ``[T]``.
        variance: likewise.
        budget: C = N T, chain steps.

    Returns:
        T, N and the error.

    Raises:
        ValueError: the curves are not of shape [T], or there is no budget.

    >>> best_split([0.5, 0.1, 0.0], [1.0, 1.0, 1.0], budget=12)
    Split(steps=3, samples=4, error=0.25)
    """
    bias, variance = _curve("bias", bias), _curve("variance", variance)
    steps = np.arange(1, min(len(bias), check.integer("budget", budget, 1, 2**53)) + 1)
    samples = budget // steps
    error = bias[: len(steps)] + variance[: len(steps)] / samples
    if np.isnan(error).all():
        raise ValueError(
            "bias: expected a number at one of the steps at least, got NaN at all: the chain diverges or overflows; "
            "take a smaller step size or noise"
        )
    best = int(np.nanargmin(error))
    return Split(int(steps[best]), int(samples[best]), float(error[best]))


def iso_error(bias: ArrayLike, variance: ArrayLike, error: float) -> NDArray[np.float64]:
    """Samples that it takes to reach an error, for T = 1, 2, and so on.

    variance(T) / (error - bias(T)), rounded up.

    Args:
        bias: for T = 1, 2, ..., ``[T]``.
        variance: likewise.
        error: to be reached.

    Returns:
        ``[T]``, infinite where no number does.

    >>> iso_error([0.5, 0.1, 0.0], [1.0, 1.0, 1.0], error=0.25).tolist()
    [inf, 7.0, 4.0]
    """
    bias, variance = _curve("bias", bias), _curve("variance", variance)
    gap = check.number("error", error, low=0.0) - bias
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.maximum(1.0, np.ceil(variance / gap * (1 - 1e-12)))
    return np.where(gap > 0, needed, np.where((gap == 0) & (variance == 0), 1.0, np.inf))


def _curve(name: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{name}: expected shape [T], got {list(array.shape)}")
    return array
