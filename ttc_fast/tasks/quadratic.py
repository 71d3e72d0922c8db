"""Metrics and scores as quadratic forms of an answer: what the exact laws start from."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..numerics import check, sums
from .prompts import Prompts

QuadraticMetric = Literal["squared_error", "prediction_risk", "in_context_loss"]

QUADRATIC: tuple[QuadraticMetric, ...] = ("squared_error", "prediction_risk", "in_context_loss")
"""The metrics that are quadratic in the answer."""


class Quadratic(NamedTuple):
    """q(w) = (w - centre)^T matrix (w - centre) + constant, for each prompt; the matrix is symmetric."""

    matrix: Tensor
    """``[B, d, d]``."""
    centre: Tensor
    """``[B, d]``."""
    constant: Tensor
    """``[B]``."""

    def __call__(self, w: Tensor) -> Tensor:
        """Of ``[B, d]``: ``[B]``."""
        difference = w - self.centre
        along = sums.matmul(difference[..., None, :], self.matrix)
        return sums.matmul(along, difference[..., :, None])[..., 0, 0] + self.constant


class QuadraticScore(NamedTuple):
    """A verifier's score as -q(w) + noise N(0, 1)."""

    form: Quadratic
    noise: float = 0.0
    order_only: bool = False
    """The score is another number, which orders candidates as -q(w) does."""


def _in_context_loss(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of one prompt: matrix, centre and constant."""
    estimate = torch.linalg.pinv(x) @ y
    return x.mT @ x / (2 * len(x)), estimate, (y - x @ estimate).square().sum() / (2 * len(x))


def quadratic(prompts: Prompts, metric: QuadraticMetric) -> Quadratic:
    """A metric as a quadratic form: |w - w*|^2 / d, (w - w*)^T Lambda (w - w*), or
    (w - what)^T S (w - what) / 2 + constant, with least squares what.

    Args:
        prompts: B of them.
        metric: its name.

    Returns:
        The form of every prompt, float64 on the CPU.

    Raises:
        ValueError: the metric is another one, or needs w*, and the prompts lack it.
    """
    check.choice("metric", metric, QUADRATIC)
    x, y = prompts.x.cpu().double(), prompts.y.cpu().double()
    count, _, dim = x.shape
    if metric == "in_context_loss":
        return Quadratic(*sums.alone(_in_context_loss, x, y))
    if prompts.w_star is None:
        raise ValueError(f"w_star: expected the true coefficients for {metric}, got prompts without them")
    covariance = prompts.covariance.cpu().double()
    weight = torch.eye(dim, dtype=torch.float64) / dim
    if metric == "prediction_risk":
        weight = torch.diag(covariance) if covariance.ndim == 1 else covariance
    return Quadratic(weight.expand(count, -1, -1), prompts.w_star.cpu().double(), torch.zeros(count).double())
