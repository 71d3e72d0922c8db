"""Averaged over prompts x ~ N(0, I), for gradient descent with constant step eta: exact at finite n and d, and in the
limit of Marchenko and Pastur.

With B_T = E tr (I - eta S)^{2T} / d and w_0 - w* independent of the prompt, R = E |w_0 - w*|^2 / d,

    E |mean of N - w*|^2 / d = R B_T + (1/N) sum_t sigma_t^2 B_{T-1-t} + s^2 L_T,

L_T = E (1/(n d)) sum_i (1 - a_i^T)^2 / lambda_i, a_i = 1 - eta lambda_i. Heavy tail: lambda_max is unbounded, so
that B_T at fixed n and d diverges as T grows, for every eta > 0, because of prompts too rare to be simulated:
:func:`error_over_prompts` gives the median and the share of unstable prompts beside the mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch

from ..decoding.gaussian_chain import affine, diverges
from ..decoding.rules import GaussianNoise
from ..estimators.arrays import Array
from ..models.linear_attention import LinearAttention
from ..numerics import check
from ..tasks.linear_regression import LinearRegression
from ..tasks.quadratic import QuadraticMetric, quadratic
from .gaussian import error_of_mean, gaussian_law
from .moments import trace_moments

Number: TypeAlias = int | float | Fraction


@dataclass(frozen=True)
class ErrorCurve:
    """Error of the mean of N per coefficient as R bias[T] + spread[T] / N + s^2 label[T], T = 0, 1, ..."""

    bias: tuple[Fraction, ...]
    spread: tuple[Fraction, ...]
    label: tuple[Fraction, ...]

    def error(self, steps: int, samples: Number, *, start: Number = 1, label_noise: Number = 0) -> Fraction:
        """E |mean of N - w*|^2 / d.

        Args:
            steps: T.
            samples: N, or ``math.inf``.
            start: R, the squared distance of w_0 from w* per coefficient.
            label_noise: its standard deviation s.
        """
        noise = self.spread[steps] / Fraction(samples) if math.isfinite(samples) else 0
        return Fraction(start) * self.bias[steps] + noise + Fraction(label_noise) ** 2 * self.label[steps]


def exact_curve(
    examples: int, dim: int, step_size: Number, noise_scale: Sequence[Number] | Number, steps: int
) -> ErrorCurve:
    """Error of the mean of N over all prompts, for T = 0, 1, ... at finite n and d, in rational numbers.

    Args:
        examples: n.
        dim: d.
        step_size: eta; a float is taken at its exact binary value.
        noise_scale: sigma, or sigma_t of every step, in units of w.
        steps: the longest T; 32 takes below a second.

    Returns:
        Bias, spread and label term of every T.

    Raises:
        ValueError: a number is out of range, or there are fewer scales than steps.

    >>> curve = exact_curve(examples=10, dim=4, step_size=Fraction(1, 2), noise_scale=Fraction(1, 2), steps=3)
    >>> curve.bias[3], float(curve.error(3, samples=5))
    (Fraction(60253, 400000), 0.23048875)
    """
    steps, eta = check.integer("steps", steps, 0, 2**11), _rational("step_size", step_size)
    moments = trace_moments(examples, dim, 2 * steps)
    scaled = [(-eta) ** k * m for k, m in enumerate(moments)]
    bias = tuple(
        sum((math.comb(2 * t, k) * scaled[k] for k in range(2 * t + 1)), Fraction(0)) for t in range(steps + 1)
    )
    # (1 - a^T)^2 / lambda, a = 1 - eta lambda: 1 - 2 a^T + a^2T without its constant, divided by lambda
    label = tuple(
        sum(
            ((math.comb(2 * t, k) - 2 * math.comb(t, k)) * (-eta) ** k * moments[k - 1] for k in range(1, 2 * t + 1)),
            Fraction(0),
        )
        / examples
        for t in range(steps + 1)
    )
    return ErrorCurve(bias, _spread(bias, noise_scale), label)


def _spread(bias: Sequence[Fraction], noise_scale: Sequence[Number] | Number) -> tuple[Fraction, ...]:
    """sum_{t<T} sigma_t^2 B_{T-1-t} for every T."""
    steps = len(bias) - 1
    scales = list(noise_scale) if isinstance(noise_scale, Sequence) else [noise_scale] * steps
    if len(scales) < steps:
        raise ValueError(f"noise_scale: expected one number for each of {steps} steps, got {len(scales)}")
    squares = [_rational("noise_scale", scale) ** 2 for scale in scales]
    return tuple(sum((squares[t] * bias[T - 1 - t] for t in range(T)), Fraction(0)) for T in range(steps + 1))


def limit_contraction(gamma: float, step_size: float, steps: int) -> Array:
    """Contraction B_T = E tr (I - eta S)^{2T} / d, T = 0, 1, ..., in the limit n, d -> infinity, d / n -> gamma.

    B_T = |(I - eta J)^T e_0|^2 with the Jacobi matrix J of the Marchenko-Pastur law, diagonal (1, 1 + gamma, 1 +
    gamma, ...) and off it sqrt(gamma): no quadrature, and for gamma > 1 the mass at 0 is in it.

    Args:
        gamma: d / n.
        step_size: eta.
        steps: T.

    Returns:
        ``[T + 1]``.

    >>> limit_contraction(gamma=1.0, step_size=0.5, steps=2).tolist()  # C(2T, T) / 4^T
    [1.0, 0.5, 0.375]
    """
    check.number("gamma", gamma, low=0.0)
    check.number("step_size", step_size)
    v = np.zeros(check.integer("steps", steps, 0, 2**14) + 1)
    v[0] = 1.0
    diagonal, result = np.full(len(v), 1.0 + gamma), [1.0]
    diagonal[0] = 1.0
    for _ in range(steps):
        product = diagonal * v
        product[1:] += math.sqrt(gamma) * v[:-1]
        product[:-1] += math.sqrt(gamma) * v[1:]
        v = v - step_size * product
        result.append(float(v @ v))
    return np.array(result)


def limit_noise_sum(gamma: float, step_size: float) -> float:
    """Sum of all B_T in the limit: the noise floor of a long chain is sigma^2 / N times it.

    (1 / 2 eta) (1 / (1 - gamma) + G(2 / eta)), G the Stieltjes transform of the Marchenko-Pastur law. Valid for gamma <
    1 and a stable chain, 0 < eta < 2 / (1 + sqrt(gamma))^2; at eta = 1 / (1 + gamma) it is 1 / (1 - gamma).

    Args:
        gamma: d / n.
        step_size: eta.

    Raises:
        ValueError: there is no floor, as gamma is at least 1 or the chain is not stable.

    >>> round(limit_noise_sum(gamma=0.5, step_size=1 / 1.5), 12)
    2.0
    """
    check.number("gamma", gamma, 0.0, 1.0)
    edge = (1 + math.sqrt(gamma)) ** 2
    if gamma >= 1 or not 0 < step_size < 2 / edge:
        raise ValueError(
            f"step_size: expected gamma < 1 and a step from 0 to {2 / edge:g}, got {step_size} at gamma = {gamma}: "
            "elsewhere there is no floor"
        )
    z = 2 / step_size
    # (z + gamma - 1 - root) / (2 gamma z), multiplied out so that gamma = 0 is no special case
    root = math.sqrt((z - (1 - math.sqrt(gamma)) ** 2) * (z - edge))
    G = 2 / (z + gamma - 1 + root)
    return (1 / (1 - gamma) + G) / (2 * step_size)


def never_overthinks_from(gamma: float, noise_scale: float, start: float = 1.0) -> float:
    """Samples from which on every further thought lowers the error of their mean.

    (sigma^2 / R) ((1 + gamma) / (1 - gamma))^2, in the limit of large n and d, with eta = 1 / (1 + gamma).

    Args:
        gamma: d / n, below 1.
        noise_scale: sigma.
        start: R.

    Raises:
        ValueError: gamma is at least 1, or R is not positive.

    >>> round(never_overthinks_from(gamma=0.5, noise_scale=1.0), 9)
    9.0
    """
    check.number("noise_scale", noise_scale, low=0.0)
    if not (0 <= gamma < 1 and start > 0):
        raise ValueError(f"gamma: expected 0 <= gamma < 1 and start > 0, got gamma = {gamma}, start = {start}")
    return noise_scale**2 / start * ((1 + gamma) / (1 - gamma)) ** 2


def best_steps(
    contraction: Sequence[float] | Array, noise_scale: float, samples: int, start: float = 1.0
) -> int | None:
    """The number of thoughts from which on more of them make the mean of N worse (overthinking).

    It is the first T that T + 1 does not beat, R (1 - B_{T+1} / B_T) <= sigma^2 / N; the error is unimodal in T since
    B_T is log-convex.

    Args:
        contraction: B_0, B_1, ..., of :func:`limit_contraction` or of :attr:`ErrorCurve.bias`.
        noise_scale: sigma.
        samples: N.
        start: R.

    Returns:
        T*; None if the error is still falling at the end of the curve.

    >>> best_steps(limit_contraction(1.0, 0.5, 400), noise_scale=0.7, samples=64)
    65
    """
    check.number("noise_scale", noise_scale, low=0.0)
    check.integer("samples", samples, 1, 2**34)
    for steps, (now, after) in enumerate(pairwise(contraction)):
        if start * (now - after) <= noise_scale**2 / samples * now:
            return steps
    return None


@dataclass(frozen=True)
class ErrorOverPrompts:
    """Exact errors given each of many simulated prompts."""

    mean: float
    median: float
    unstable: float
    """Share of prompts with eta lambda_max > 2: above 0, do not trust a mean over prompts."""


def error_over_prompts(
    task: LinearRegression,
    step_size: float,
    rule: GaussianNoise,
    steps: int,
    samples: float,
    *,
    prompts: int = 1000,
    seed: int = 0,
    metric: QuadraticMetric = "squared_error",
) -> ErrorOverPrompts:
    """The error of the mean of N, exact given the prompt, over simulated prompts of any task.

    Args:
        task: where prompts come from.
        step_size: eta.
        rule: noise, in units of w.
        steps: T.
        samples: N, or ``math.inf``.
        prompts: how many.
        seed: of the prompts.
        metric: see :func:`ttc_fast.tasks.quadratic.quadratic`.

    Returns:
        Mean and median over the prompts, and the share of those whose chain diverges.

    >>> import ttc_fast as tf
    >>> task = tf.LinearRegression(4, 40, label_noise=0.5)
    >>> error_over_prompts(task, 0.5, tf.GaussianNoise(0.3), steps=6, samples=8, prompts=100).unstable
    0.0
    """
    batch = task.sample(prompts, seed=seed, dtype=torch.float64)
    model = LinearAttention.gradient_descent(task.dim, step_size=step_size, dtype=torch.float64)
    with torch.no_grad():
        state = model.prefill(batch).linear
    errors = error_of_mean(gaussian_law(state, rule, steps), quadratic(batch, metric), [samples])[:, 0].numpy()
    unstable = diverges(affine(state)[0]).double().mean()
    return ErrorOverPrompts(float(errors.mean()), float(np.median(errors)), float(unstable))


def _rational(name: str, value: Number) -> Fraction:
    if isinstance(value, Fraction):
        return value
    check.number(name, value)
    return Fraction(value)
