"""Stability in mean square of chains whose noise is relative to the thought: whether E w w^T stays finite.

With u(w) = A w + c the noise makes of Q = E w w^T in one step Q -> M Q M^T + kappa^2 (tr(Q) I + Q), M = A - kappa I
(rank-one), or A Q A^T + kappa^2 diag(Q) (element-wise), but for terms that do not matter in the long run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from .gaussian_chain import DIVERGES_ABOVE

WORST_AXES = 1e4
"""Condition number of A's eigenvectors from which on they are not used: the digits lost are those of its square."""

LEAST = -700.0
"""Logarithm of a gain of 0."""


def radius(matrix: Tensor, scale: float, *, rank_one: bool) -> Tensor:
    """Spectral radius of the map of Q ``[B]``.

    For the rank-one rule with P = eta I it is the largest eigenvalue of diag((a_i - kappa)^2 + kappa^2) + kappa^2
    1 1^T, a_i = 1 - eta lambda_i. Elsewhere, with N the map without the terms tr(Q) I and diag(Q): the map keeps the
    cone of positive matrices, so that its radius is the largest rho with kappa^2 tr (rho - N)^{-1} I = 1, or with the
    spectral radius of the d x d matrix kappa^2 ((rho - N)^{-1} e_j e_j^T)_ii equal to 1; both fall with rho.

    Args:
        matrix: A ``[B, d, d]``, float64 on the CPU.
        scale: kappa.
        rank_one: else element-wise.
    """
    symmetric = torch.equal(matrix, matrix.mT)
    if rank_one and symmetric:
        a, dim = torch.linalg.eigvalsh(matrix), matrix.shape[1]
        mode = torch.diag_embed((a - scale) ** 2 + scale**2) + scale**2 * torch.ones(dim, dim).double()
        largest: Tensor = torch.linalg.eigvalsh(mode)[:, -1]
        return largest
    decompose = np.linalg.eigh if symmetric else np.linalg.eig
    found = []
    for A in matrix.numpy():
        values, axes = decompose(A)
        if not symmetric and not np.linalg.cond(axes) < WORST_AXES:
            found.append(_of_whole_map(A, scale, rank_one))
            continue
        modes = _Modes(axes, axes.T if symmetric else np.linalg.inv(axes), values)
        found.append(modes.ridge_radius(scale) if rank_one else modes.diagonal_radius(scale))
    return torch.tensor(found, dtype=torch.float64)


def diverges(matrix: Tensor, scale: float, *, rank_one: bool) -> Tensor:
    """Whether E |w|^2 grows without bound, up to rounding: ``[B]`` bool.

    Most prompts are told by bounds, rho(A - kappa I)^2 or rho(A)^2 from below, and from above, as the map keeps
    positive matrices, |M|^2 + (d + 1) kappa^2 or |A|^2 + kappa^2; only the others by :func:`radius`.

    Args:
        matrix: A ``[B, d, d]``, float64 on the CPU.
        scale: kappa.
        rank_one: else element-wise.
    """
    dim = matrix.shape[1]
    mean = matrix - scale * torch.eye(dim).double() if rank_one else matrix
    low = torch.linalg.eigvals(mean).abs().amax(1) ** 2
    high = torch.linalg.matrix_norm(mean, 2) ** 2 + scale**2 * (dim + 1 if rank_one else 1)
    answer: Tensor = low > DIVERGES_ABOVE
    open_ = ~answer & (high > DIVERGES_ABOVE)
    if open_.any():
        answer[open_] = radius(matrix[open_], scale, rank_one=rank_one) > DIVERGES_ABOVE
    return answer


@dataclass(frozen=True, eq=False)
class _Modes:
    """A = axes diag(values) inverse, perhaps complex: in these modes N multiplies each entry of Q by a number."""

    axes: NDArray[Any]
    inverse: NDArray[Any]
    values: NDArray[Any]

    def ridge_radius(self, scale: float) -> float:
        values = self.values - scale
        factor = np.multiply.outer(values, values.conj()) + scale**2
        # (rho - N)^{-1} I = axes (weight / (rho - factor)) axes^H
        weight = (self.inverse @ self.inverse.conj().T) * (self.axes.conj().T @ self.axes).T

        def gain(rho: float) -> float:
            return float((weight / (rho - factor)).sum().real * scale**2)

        return _where_one(gain, float(np.abs(np.diag(factor)).max()), scale)

    def diagonal_radius(self, scale: float) -> float:
        factor = np.multiply.outer(self.values, self.values.conj())
        rows = self.axes.T[:, :, None] * self.inverse[:, None, :]  # axes_ia inverse_aj: [a, i, j]

        def gain(rho: float) -> float:
            inner = np.tensordot(1 / (rho - factor), rows.conj(), axes=1)
            return float(np.abs(np.linalg.eigvals((rows * inner).sum(0).real)).max() * scale**2)

        return _where_one(gain, float(np.abs(self.values).max() ** 2), scale)


def _where_one(gain: Callable[[float], float], floor: float, scale: float) -> float:
    """The rho above ``floor`` at which a falling gain is 1; ``floor`` if it is below 1 from there on."""
    high = max(floor, scale**2)
    if scale**2 == 0 or high * 1e-12 == 0:  # also where the square is no number of float64
        return floor

    def height(log_excess: float) -> float:
        value = gain(floor + math.exp(log_excess))
        return math.log(value) if value > 0 else LEAST  # far above all poles a gain may round to 0

    high = math.log(high)
    low = high + math.log(1e-12)
    if not height(low) > 0:
        return floor
    while height(high) > 0:
        high += math.log(4)
    return floor + math.exp(brentq(height, low, high, xtol=1e-13))


def _of_whole_map(A: NDArray[Any], scale: float, rank_one: bool) -> float:
    """The radius where A has hardly d eigenvectors: of the map as a matrix, on the d (d + 1) / 2 entries of Q."""
    dim = len(A)
    rows, columns = np.triu_indices(dim)
    each = np.arange(len(rows))
    Q = np.zeros((len(rows), dim, dim))
    Q[each, rows, columns] = Q[each, columns, rows] = 1
    M = A - scale * np.eye(dim) if rank_one else A
    image = M @ Q @ M.T
    if rank_one:
        image += scale**2 * (Q.trace(axis1=1, axis2=2)[:, None, None] * np.eye(dim) + Q)
    else:
        image += scale**2 * Q * np.eye(dim)
    return float(np.abs(np.linalg.eigvals(image[:, rows, columns])).max())
