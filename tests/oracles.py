"""Exact laws of the decoding rules, written independently of the library; float64, one prompt at a time.

The formulas are those of the linear recursion w_{t+1} = M w_t + c + sigma_t xi_t and of the Markov chain
on {0,1}^d; M = I - P S and c = P b are read off a state (-P S, -P b).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

ALPHA = 1e-6
"""False-alarm rate of one random test; their seeds are fixed, so a test that passes goes on passing."""


def affine(state: Array) -> tuple[Array, Array]:
    """M [d, d] and c [d] of u(w) = M w + c."""
    return np.eye(len(state)) + state[:, :-1], -state[:, -1]


def gaussian_law(state: Array, w0: Array, scales: Array) -> tuple[Array, Array]:
    """Mean [d] and covariance [d, d] of the thought after ``len(scales)`` steps."""
    M, c = affine(state)
    mean, covariance = w0, np.zeros((len(w0), len(w0)))
    for scale in scales:
        mean = M @ mean + c
        covariance = M @ covariance @ M.T + scale**2 * np.eye(len(w0))
    return mean, covariance


def bit_strings(dim: int) -> Array:
    """All of {0,1}^d, [2^d, d]."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=dim)))


def binary_law(state: Array, w0: Array, steps: int, probability: Callable[[Array], Array]) -> Array:
    """Law of the thought after ``steps`` draws at every step: probabilities [2^d] of :func:`bit_strings`."""
    M, c = affine(state)
    strings = bit_strings(len(w0))

    def draw(w: Array) -> Array:
        p = probability(w @ M.T + c)[..., None, :]
        return np.asarray(np.prod(np.where(strings == 1, p, 1 - p), axis=-1))

    law = draw(w0)
    for _ in range(steps - 1):
        law = law @ draw(strings)
    return law


def last_step_law(state: Array, w0: Array, steps: int, probability: Callable[[Array], Array]) -> Array:
    """Law of an answer drawn after ``steps`` continuous, noise-free thoughts: probabilities [2^d]."""
    M, c = affine(state)
    for _ in range(steps - 1):
        w0 = M @ w0 + c
    return binary_law(state, w0, 1, probability)


def majority_right(q: Array, votes: int) -> Array:
    """Probability that the majority of ``votes`` says 1 where each does with probability ``q``; ties 1/2."""
    above = stats.binom.sf(votes // 2, votes, q)
    tie = stats.binom.pmf(votes // 2, votes, q) if votes % 2 == 0 else 0.0
    return np.asarray(above + tie / 2)


def sigmoid(temperature: float) -> Callable[[Array], Array]:
    return lambda u: 1 / (1 + np.exp((0.5 - u) / temperature))


def clip(u: Array) -> Array:
    return np.clip(u, 0.0, 1.0)
