"""The ridge that sampling and averaging amount to: gradient descent that shrinks the thought by kappa at every step.

The mean of the rank-one rule w_{t+1} = u(w_t) - kappa xi xi^T w_t is w <- (A - kappa I) w + c, gradient descent on the
in-context loss with the ridge (kappa / step_size) |w|^2 / 2. Sources as in ``multiplicative.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..decoding.authors_rules import RankOneNoise
from ..decoding.gaussian_chain import affine
from ..decoding.schedules import NoiseSchedule
from ..numerics import check


def equivalent_ridge(strength: float, step_size: float, examples: int = 1) -> float:
    """The ridge lambda of the mean of the rank-one rule, which is gradient descent on L + lambda |w|^2 / 2.

    kappa / step_size with L the in-context loss, whose second derivative is S; n times that with the sum over the
    examples, whose second derivative is G = n S (the s^2 of the authors).

    Args:
        strength: kappa.
        step_size: eta of P = eta I, in our units.
        examples: n for the ridge on G; 1 for that on S.

    Raises:
        ValueError, TypeError: the step is 0, or a number is out of range.

    >>> equivalent_ridge(strength=1e-3, step_size=0.03), equivalent_ridge(1e-3, 0.03, examples=30)
    (0.03333333333333333, 1.0)
    """
    if check.number("step_size", step_size, low=0.0) == 0:
        raise ValueError("step_size: expected a number above 0, got 0")
    ratio = check.number("strength", strength, low=0.0) / step_size
    return ratio * check.integer("examples", examples, 1, 2**34)


def best_ridge(label_noise_variance: float, dim: int, nonzero: int | None = None) -> float:
    """The ridge on sums G = X^T X with the least expected error of all: delta^2 d / k.

    For k nonzero N(0, 1) coefficients at places drawn at random, whose variance is k / d. The ridge on S is 1 / n of
    it.

    Args:
        label_noise_variance: delta^2.
        dim: d.
        nonzero: k, from 1 to d; default d.

    Raises:
        ValueError, TypeError: a number is out of range.

    >>> best_ridge(label_noise_variance=0.1, dim=50, nonzero=5)
    1.0
    """
    check.number("label_noise_variance", label_noise_variance, low=0.0)
    dim = check.integer("dim", dim, 1, 2**24)
    return label_noise_variance * dim / check.integer("nonzero", dim if nonzero is None else nonzero, 1, dim)


def ridge_descent(state: Tensor, strength: NoiseSchedule, steps: int, w0: Tensor | None = None) -> Tensor:
    """w_T of gradient descent with a ridge, w <- (A - kappa_t I) w + c: the mean of the rank-one rule.

    With one kappa it is the noise-free chain of the state of :func:`ttc_fast.techniques.ridge.with_ridge`.

    Args:
        state: ``[B, d, d+1]``.
        strength: kappa_t, a number or a schedule.
        steps: T.
        w0: initial thought ``[B, d]``, default zero.

    Returns:
        ``[B, d]``, float64 on the CPU.

    Raises:
        TypeError, ValueError: an argument is not as described.
    """
    check.tensor("state", state, ("B", "d", "d+1"))
    steps = check.integer("steps", steps, 0, 2**34)
    matrix, offset = affine(state)
    w = torch.zeros_like(offset) if w0 is None else check.tensor("w0", w0, offset.shape).detach().cpu().double()
    for scale in RankOneNoise(strength).scales(steps).tolist():
        w = (matrix @ w[:, :, None])[:, :, 0] - scale * w + offset
    return w
