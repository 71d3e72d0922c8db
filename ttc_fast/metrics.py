"""Metrics: how good answers are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from . import ordered
from .tasks import Prompts

Metric: TypeAlias = Callable[[Prompts, Tensor], Tensor]
"""From answers ``[B, A, d]`` to a figure for each, ``[B, A]``."""


def of(prompts: Prompts, binary: bool) -> dict[str, Metric]:
    """The metrics that can be told of answers to ``prompts``, by name."""
    if prompts.w_star is None:
        return {"in_context_loss": in_context_loss}
    known: dict[str, Metric] = {"squared_error": squared_error, "prediction_risk": prediction_risk}
    return known | {"hamming": hamming, "exact_recovery": exact_recovery} if binary else known


def in_context_loss(prompts: Prompts, w: Tensor) -> Tensor:
    """Loss of coefficients ``[B, A, d]`` on their own prompts, sum_i (y_i - <w, x_i>)^2 / (2n): ``[B, A]``."""
    residual = prompts.y[:, :, None] - ordered.matmul(prompts.x, w.mT.contiguous())
    return ordered.tree_mean(residual.square_(), 1) / 2


def squared_error(prompts: Prompts, w: Tensor) -> Tensor:
    """|w - w*|^2 / d of coefficients ``[B, A, d]``: ``[B, A]``. Needs w*."""
    return ordered.tree_mean((w - truth(prompts)).square_(), 2)


def prediction_risk(prompts: Prompts, w: Tensor) -> Tensor:
    """E_x (<w, x> - <w*, x>)^2 = (w - w*)^T Lambda (w - w*) of coefficients ``[B, A, d]``: ``[B, A]``. Needs w*."""
    difference = w - truth(prompts)
    if prompts.covariance.ndim == 1:
        return ordered.tree_sum(difference.square_() * prompts.covariance, 2)
    return ordered.tree_sum(difference * ordered.matmul(difference, prompts.covariance), 2)


def hamming(prompts: Prompts, w: Tensor) -> Tensor:
    """Share of wrong coefficients of ``[B, A, d]``, each read as 1 iff above 1/2 and as half wrong at 1/2:
    ``[B, A]``. Needs a binary w*."""
    return 1.0 - ordered.tree_mean(_right(prompts, w), 2)


def exact_recovery(prompts: Prompts, w: Tensor) -> Tensor:
    """Probability that all coefficients of ``[B, A, d]`` are right, read as in :func:`hamming`, with
    those at 1/2 decided by fair coins: ``[B, A]``. Needs a binary w*."""
    return _right(prompts, w).prod(2)


def disagreement(w: Tensor) -> Tensor:
    """How far the A >= 2 answers ``[B, A, d]`` of a prompt are from each other: ``[B, A]``, whose mean over
    A is the mean over pairs of |w_a - w_b|^2 / d; for binary answers, the share of coefficients on which
    two answers differ. Needs no w*."""
    answers = w.shape[1]
    deviation = w - ordered.tree_mean(w, 1)[:, None]
    return ordered.tree_mean(deviation.square_(), 2) * (2 * answers / (answers - 1))


def _right(prompts: Prompts, w: Tensor) -> Tensor:
    """1 where a coefficient is right, 0 where it is wrong, 1/2 where it is 1/2."""
    return 1.0 - ((w - 0.5).sign_().mul_(0.5).add_(0.5) - truth(prompts)).abs_()


def truth(prompts: Prompts) -> Tensor:
    """w* as ``[B, 1, d]``."""
    if prompts.w_star is None:
        raise ValueError("w_star: expected the true coefficients, got prompts without them")
    return prompts.w_star[:, None]
