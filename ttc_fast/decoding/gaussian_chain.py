"""The Gaussian chain over several steps at once: it is linear, so that a thought given an earlier one is Gaussian."""

from __future__ import annotations

import math
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


def stable_factor(matrix: Tensor) -> float:
    """What P may be multiplied by at most, so that no noise-free chain diverges: 2 / the largest eigenvalue of P S.

    With P = eta I, times eta it is 2 / the largest eigenvalue of S.

    Args:
        matrix: M = I - P S ``[B, d, d]``.
    """
    symmetric = torch.equal(matrix, matrix.mT)
    eigenvalues = torch.linalg.eigvalsh(matrix) if symmetric else torch.linalg.eigvals(matrix).real
    largest = 1 - float(eigenvalues.min())
    return 2 / largest if largest > 0 else math.inf


TILE = 2**22
"""Numbers in a temporary array: 32 MB."""


def transition(state: Tensor, scales: Tensor) -> Transition:
    """The law of w_{t+k} given w_t over k steps.

    With symmetric M (P = eta I) in its eigenbasis: a_i^k, sum_j a_i^j and sum_j sigma_j^2 a_i^{2(k-1-j)} for the
    eigenvalues a_i = 1 - eta lambda_i, at a cost of B k d numbers; else by k products of matrices. Where one scale
    serves all steps (``scales`` is an expanded number) laws of 1, 2, 4, ... steps are put together, so that time and
    memory grow with log k only. The bits do not depend on the other prompts of a batch in which every M is symmetric,
    or none.

    Args:
        state: ``[B, d, d+1]``.
        scales: sigma_t of the k steps ``[k]``, in units of w.
    """
    M, c = affine(state)
    steps, constant = len(scales), len(scales) > 0 and scales.stride(0) == 0
    if not torch.equal(M, M.mT):
        if constant:
            return _rooted(*_repeated_affine(M, c[:, :, None], float(scales[0]), steps))
        return _rooted(*_by_products(M, c[:, :, None], scales))
    a, axes = sums.eigh(M)
    if constant:
        total = _geometric_sum(a, steps)
        variance = float(scales[0]) ** 2 * _geometric_sum(a * a, steps)
    else:
        total, variance = _sums_of_powers(a, scales)
    matrix = sums.matmul(axes * (a**steps)[:, None], axes.mT)
    offset = sums.matmul(sums.matmul(axes * total[:, None], axes.mT), c[:, :, None])
    return Transition(matrix, offset[:, :, 0], axes * variance.sqrt()[:, None])


def _geometric_sum(a: Tensor, count: int) -> Tensor:
    """1 + a + ... + a^(count - 1), by doubling: S_2m = S_m (1 + a^m), S_{m+1} = 1 + a S_m; right where a is 1."""
    total, power = torch.zeros_like(a), torch.ones_like(a)
    for bit in f"{count:b}":
        total, power = total * (1 + power), power * power
        if bit == "1":
            total, power = 1 + a * total, a * power
    return total


def _sums_of_powers(a: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """sum_j a^j and sum_j sigma_j^2 a^{2(k-1-j)}, in tiles of steps: memory does not grow with k."""
    total, variance = torch.zeros_like(a), torch.zeros_like(a)
    backwards = scales.flip(0)
    for j in sums.tiles(len(scales), TILE // max(a.numel(), 1)):
        powers = a ** torch.arange(j.start, j.stop, dtype=torch.float64)[:, None, None]  # [k, B, d]
        total = total + sums.tree_sum(powers, 0)
        variance = variance + sums.tree_sum((powers * backwards[j, None, None]) ** 2, 0)
    return total, variance


def _repeated_affine(M: Tensor, c: Tensor, scale: float, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Matrix, offset and covariance of ``steps`` equal steps: those of 2m are those of m after those of m."""
    noise = scale**2 * torch.eye(M.shape[1], dtype=torch.float64)
    matrix, offset, covariance = torch.eye(M.shape[1]).double().expand_as(M), torch.zeros_like(c), torch.zeros_like(M)
    for bit in f"{steps:b}":
        offset = sums.matmul(matrix, offset) + offset
        covariance = sums.matmul(sums.matmul(matrix, covariance), matrix.mT) + covariance
        matrix = sums.matmul(matrix, matrix)
        if bit == "1":
            matrix, offset = sums.matmul(M, matrix), sums.matmul(M, offset) + c
            covariance = sums.matmul(sums.matmul(M, covariance), M.mT) + noise
    return matrix, offset, covariance


def _by_products(M: Tensor, c: Tensor, scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    identity = torch.eye(M.shape[1], dtype=torch.float64).expand_as(M)
    matrix, offset, covariance = identity, torch.zeros_like(c), torch.zeros_like(M)
    for scale in scales.tolist():
        matrix, offset = sums.matmul(M, matrix), sums.matmul(M, offset) + c
        covariance = sums.matmul(sums.matmul(M, covariance), M.mT) + scale**2 * identity
    return matrix, offset, covariance


def _rooted(matrix: Tensor, offset: Tensor, covariance: Tensor) -> Transition:
    if not covariance.isfinite().all():  # chains that diverged; LAPACK refuses them
        return Transition(matrix, offset[:, :, 0], covariance)
    variance, axes = sums.eigh(covariance)
    return Transition(matrix, offset[:, :, 0], axes * variance.clamp_min(0).sqrt()[:, None])
