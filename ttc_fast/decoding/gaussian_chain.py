"""The Gaussian chain over several steps at once: it is linear, so that a thought given an earlier one is Gaussian."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics import sums


class Transition(NamedTuple):
    """w_{t+k} = matrix w_t + offset + root z, z ~ N(0, I)."""

    matrix: Tensor
    """``[B, d, d]``."""
    offset: Tensor
    """``[B, d]``."""
    root: Tensor
    """``[B, d, d]``; the covariance is root root^T."""


def affine(state: Tensor) -> tuple[Tensor, Tensor]:
    """M ``[B, d, d]`` and c ``[B, d]`` of u(w) = M w + c, float64 on the CPU; ``state [B, d, d+1]``."""
    state = state.detach().cpu().double()
    return torch.eye(state.shape[1], dtype=torch.float64) + state[:, :, :-1], -state[:, :, -1]


DIVERGES_ABOVE = 1 + 1e-4
"""Spectral radius of I - P S. It is 1 where n < d, up to the rounding of a state in float32."""


def diverges(matrix: Tensor) -> Tensor:
    """Whether the noise-free chain u(w) = M w + c diverges: ``[B]`` bool.

    Args:
        matrix: M = I - P S ``[B, d, d]``.
    """
    symmetric = torch.equal(matrix, matrix.mT)
    eigenvalues: Tensor = torch.linalg.eigvalsh(matrix) if symmetric else torch.linalg.eigvals(matrix)
    return eigenvalues.abs().amax(1) > DIVERGES_ABOVE


def transition(state: Tensor, scales: Tensor) -> Transition:
    """The law of w_{t+k} given w_t over k steps.

    With symmetric M (P = eta I) in its eigenbasis: a_i^k, sum_j a_i^j and sum_j sigma_j^2 a_i^{2(k-1-j)} for the
    eigenvalues a_i = 1 - eta lambda_i, at a cost of B k d numbers; else by k products of matrices. The bits
    do not depend on the other prompts of a batch in which every M is symmetric, or none.

    Args:
        state: ``[B, d, d+1]``.
        scales: sigma_t of the k steps ``[k]``, in units of w.
    """
    steps = len(scales)
    M, c = affine(state)
    if not torch.equal(M, M.mT):
        return _transition_by_products(M, c, scales)
    a, axes = torch.linalg.eigh(M)
    powers = a ** torch.arange(steps, dtype=torch.float64)[:, None, None]  # [k, B, d]
    total = sums.tree_sum(powers, 0) if steps else torch.zeros_like(a)
    variance = sums.tree_sum((powers * scales.flip(0)[:, None, None]) ** 2, 0) if steps else total
    matrix = sums.matmul(axes * (a**steps)[:, None], axes.mT)
    offset = sums.matmul(sums.matmul(axes * total[:, None], axes.mT), c[:, :, None])
    return Transition(matrix, offset[:, :, 0], axes * variance.sqrt()[:, None])


def _transition_by_products(M: Tensor, c: Tensor, scales: Tensor) -> Transition:
    identity = torch.eye(M.shape[1], dtype=torch.float64).expand_as(M)
    matrix, offset, covariance = identity, torch.zeros_like(c)[:, :, None], torch.zeros_like(M)
    for scale in scales.tolist():
        matrix, offset = sums.matmul(M, matrix), sums.matmul(M, offset) + c[:, :, None]
        covariance = sums.matmul(sums.matmul(M, covariance), M.mT) + scale**2 * identity
    variance, axes = torch.linalg.eigh(covariance)
    return Transition(matrix, offset[:, :, 0], axes * variance.clamp_min(0).sqrt()[:, None])
