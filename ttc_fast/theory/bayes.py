"""The best that any technique can do on binary coefficients: Bayes' posterior over the 2^d answers, by enumeration."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from ..estimators.arrays import Array
from ..numerics import check
from ..tasks.prompts import Prompts
from .binary import bit_strings, marginals


def posterior(prompts: Prompts, label_noise: float, prior: float = 0.5) -> Array:
    """Bayes' posterior over the binary answers {0, 1}^d.

    It is proportional to exp(-|y - X w|^2 / 2 s^2) prior^|w| (1 - prior)^(d - |w|).

    No technique can beat it: its mode recovers w* most often, its marginals have the least errors.

    Args:
        prompts: with binary w*, d <= 14.
        label_noise: s > 0.
        prior: probability of a one.

    Returns:
        ``[B, 2^d]``.

    Raises:
        ValueError: s is 0, or a number is out of range.

    >>> import ttc_fast as tf
    >>> prompts = tf.LinearRegression(3, 12, "binary", label_noise=0.5).sample(2)
    >>> bayes_benchmark(posterior(prompts, 0.5)).exact_recovery.shape
    (2,)
    """
    if check.number("label_noise", label_noise, low=0.0) == 0:
        raise ValueError("label_noise: expected a number above 0, got 0: without noise the examples tell w*")
    check.number("prior", prior, 1e-300, 1 - 1e-16)
    strings = bit_strings(prompts.x.shape[2])
    x, y = prompts.x.cpu().double().numpy(), prompts.y.cpu().double().numpy()
    ones = strings.sum(1)
    log = ones * math.log(prior) + (strings.shape[1] - ones) * math.log1p(-prior)
    log = np.stack([log - ((y[b] - strings @ x[b].T) ** 2).sum(1) / (2 * label_noise**2) for b in range(len(x))])
    return np.asarray(special.softmax(log, axis=1))


@dataclass(frozen=True, eq=False)
class BayesBenchmark:
    """The best that any technique can do on average over tasks, given the prompt; ``[B]`` each."""

    exact_recovery: Array
    hamming: Array
    squared_error: Array
    """Of the posterior mean, which need not be binary."""


def bayes_benchmark(posterior: Array) -> BayesBenchmark:
    """The best exact recovery, Hamming and squared error that any technique can have.

    From :func:`posterior`: the largest probability, the mean of min(m_i, 1 - m_i), and the mean of m_i (1 - m_i), m the
    marginals.
    """
    m = marginals(posterior)
    return BayesBenchmark(posterior.max(-1), np.minimum(m, 1 - m).mean(-1), (m * (1 - m)).mean(-1))
