"""Where to spend a budget of C = N T chain steps: on longer chains or on more of them.

The error of the mean of N after T thoughts is bias(T) + variance(T) / N for every task, so that curves of bias and
variance decide. They come from :func:`curves` (mean over simulated prompts, exact given each), from
:func:`ttc_fast.theory.ensemble.exact_curve`, or from the limit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..decoding.rules import GaussianNoise
from ..estimators.selection import Array
from ..numerics import check
from ..tasks.quadratic import Quadratic


class Split(NamedTuple):
    """A way to spend a budget."""

    steps: int
    samples: int
    error: float


def curves(state: Tensor, rule: GaussianNoise, metric: Quadratic, steps: int) -> tuple[Tensor, Tensor]:
    """bias(T) and variance(T) of every prompt for T = 1, ..., ``steps``, from w_0 = 0: ``[B, T]`` each.

    Args:
        state: ``[B, d, d+1]``, of any preconditioner.
        rule: noise, in units of w.
        metric: of the error, see :func:`ttc_fast.theory.prompt.quadratic`.
        steps: the longest T.
    """
    state = state.detach().cpu().double()
    eye = torch.eye(state.shape[1], dtype=torch.float64)
    M, c = eye + state[:, :, :-1], -state[:, :, -1:]
    mean, covariance, bias, variance = torch.zeros_like(c), torch.zeros_like(M), [], []
    for scale in rule.scales(check.integer("steps", steps, 1, 2**20)).tolist():
        mean, covariance = M @ mean + c, M @ covariance @ M.mT + scale**2 * eye
        bias.append(metric(mean[:, :, 0]))
        variance.append((metric.matrix * covariance).sum((1, 2)))
    return torch.stack(bias, 1), torch.stack(variance, 1)


def best_split(bias: ArrayLike, variance: ArrayLike, budget: int) -> Split:
    """The T of least bias(T) + variance(T) / N, N = budget // T.

    Args:
        bias: for T = 1, 2, ..., ``[T]``.
        variance: likewise.
        budget: C = N T, chain steps.
    """
    bias, variance = _curve("bias", bias), _curve("variance", variance)
    steps = np.arange(1, min(len(bias), check.integer("budget", budget, 1, 2**53)) + 1)
    samples = budget // steps
    error = bias[: len(steps)] + variance[: len(steps)] / samples
    best = int(np.nanargmin(error))
    return Split(int(steps[best]), int(samples[best]), float(error[best]))


def iso_error(bias: ArrayLike, variance: ArrayLike, error: float) -> NDArray[np.float64]:
    """Samples that reach ``error`` at T = 1, 2, ...: variance(T) / (error - bias(T)), rounded up; infinite where
    no number does: ``[T]``."""
    bias, variance = _curve("bias", bias), _curve("variance", variance)
    gap = check.number("error", error, low=0.0) - bias
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.maximum(1.0, np.ceil(variance / gap * (1 - 1e-12)))
    return np.where(gap > 0, needed, np.where((gap == 0) & (variance == 0), 1.0, np.inf))


def slowest_mode_steps(budget: float, bias: float, variance: float, factor: float) -> float:
    """T* = ln(2 ln(1/a) b_0 C / v) / (2 ln(1/a)), the stationary point of b_0 a^{2T} + v T / C: T grows
    with the logarithm of C, the rest goes into samples. Valid for 0 < a < 1, where it is positive.

    Args:
        budget: C.
        bias: b_0, that of the slowest mode at T = 0.
        variance: v of a long chain, one sample.
        factor: a = 1 - eta lambda of the slowest mode.
    """
    if not (0 < factor < 1 and bias > 0 and variance > 0 and budget > 0):
        raise ValueError(f"factor: expected 0 < factor < 1 and positive bias, variance and budget, got {factor}")
    rate = math.log(1 / factor)
    return math.log(2 * rate * bias * budget / variance) / (2 * rate)


def split_at_gamma_one(budget: float, noise_scale: float, start: float = 1.0) -> tuple[float, float, float]:
    """T*, N* and the error at gamma = 1, eta = 1/2, for a large budget: T = sqrt(R C / (6 sigma^2)), N = C / T, and
    (R + 2 T sigma^2 / N) / sqrt(pi T) = (4 R / 3) / sqrt(pi T), which falls only as C^(-1/4)."""
    if not (budget > 0 and noise_scale > 0 and start > 0):
        raise ValueError(
            f"budget: expected positive budget, noise_scale and start, got {budget}, {noise_scale}, {start}"
        )
    steps = math.sqrt(start * budget / (6 * noise_scale**2))
    return steps, budget / steps, 4 * start / 3 / math.sqrt(math.pi * steps)


def _curve(name: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{name}: expected shape [T], got {list(array.shape)}")
    return array
