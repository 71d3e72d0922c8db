"""Sums whose order of addition is fixed, so that their bits do not depend on shape, chunk or threads.

BLAS and ``Tensor.sum`` choose the order of their additions by shape, alignment and number of threads.
One IEEE addition or multiplication per element leaves no such choice: promise 2 of the random-number
contract (the same bits however a run is chunked) rests on the sums of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .tiles import tiles as tiles


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product ``[..., p, k] @ [..., k, q] -> [..., p, q]``, summed over k from first to last; small ones on a
    GPU, where k launches would take longer than all products, by pairs.

    Args:
        a: left factor.
        b: right factor.
    """
    if a.device.type != "cpu" and a.shape[-2] * a.shape[-1] * b.shape[-1] <= 2**20:
        return tree_sum(a[..., :, :, None] * b[..., None, :, :], -2)
    total = a[..., :, 0, None] * b[..., None, 0, :]
    for k in range(1, a.shape[-1]):
        # Two roundings on purpose: a fused multiply-add would round differently in vector tails.
        total += a[..., :, k, None] * b[..., None, k, :]
    return total


def products(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products ``[B, p, k] @ [B, k, q]``, whose bits do not depend on the other ones: small ones by
    :func:`matmul`, large ones by BLAS, one after the other.

    Args:
        a, b: left and right factors.
    """
    return matmul(a, b) if a.shape[-1] <= 16 or not len(a) else products_alone(a, b)


def products_alone(a: Tensor, b: Tensor) -> Tensor:
    """Those of :func:`products` by BLAS, whatever their size: for few and wide ones.

    Args:
        a, b: left and right factors, at least one each.
    """
    return alone(lambda one, other: (one @ other,), a, b)[0]


def tree_sum(x: Tensor, dim: int) -> Tensor:
    """Sum by adding neighbours in pairs, then pairs of pairs: error O(log length).

    Args:
        x: of any shape.
        dim: what is summed over.
    """
    dim %= x.ndim
    while (length := x.shape[dim]) > 1:
        left, right = x.narrow(dim, 0, length - length % 2).unflatten(dim, (-1, 2)).unbind(dim + 1)
        halved = left + right
        x = torch.cat((halved, x.narrow(dim, length - 1, 1)), dim) if length % 2 else halved
    return x.squeeze(dim)


def tree_mean(x: Tensor, dim: int) -> Tensor:
    """Mean in the order of :func:`tree_sum`.

    Args:
        x: of any shape.
        dim: what the mean is over.
    """
    return tree_sum(x, dim) / x.shape[dim]


def eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``[B, d]`` and eigenvectors ``[B, d, d]`` of symmetric matrices, each in memory of its own: LAPACK's
    bits depend on where a matrix lies.

    Args:
        matrices: ``[B, d, d]``.
    """
    if not len(matrices):
        return matrices.new_zeros(matrices.shape[:2]), matrices.clone()
    values, axes = alone(torch.linalg.eigh, matrices)
    return values, axes


def alone(function: Callable[..., Iterable[Tensor]], *batches: Tensor) -> tuple[Tensor, ...]:
    """What a function gives for each element of batches by itself, in memory of its own: the bits of BLAS and LAPACK
    depend on where an array lies, and on what is computed beside it.

    Args:
        function: of the elements; gives several tensors.
        batches: of B elements each, at least one.
    """
    found = [function(*(one.clone() for one in elements)) for elements in zip(*batches)]
    return tuple(torch.stack(parts) for parts in zip(*found))
