"""Prompts and thoughts as tokens, columns with the blocks (x, y, w, 1) of sizes d, 1, d, 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..numerics import check


def token_matrix(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """The examples (x_i, y_i, 0, 0) and a thought (0, 0, w, 1): ``[B, 2d+2, n+1]``.

    Args:
        x: features ``[B, n, d]``.
        y: labels ``[B, n]``.
        w: a thought ``[B, d]``.
    """
    batch, examples, d = x.shape
    Z = x.new_zeros(batch, 2 * d + 2, examples + 1)
    Z[:, :d, :-1] = x.mT
    Z[:, d, :-1] = y
    Z[:, d + 1 : -1, -1] = w
    Z[:, -1, -1] = 1.0
    return Z


def appended(Z: Tensor, thought: Tensor) -> Tensor:
    """Tokens ``[B, 2d+2, L]`` and the token (0, 0, w, 1) of one more thought ``[B, d]``: ``[B, 2d+2, L+1]``.

    Args:
        Z: the tokens.
        thought: w.
    """
    batch, d = thought.shape
    token = torch.cat((Z.new_zeros(batch, d + 1), thought, Z.new_ones(batch, 1)), 1)
    return torch.cat((Z, token[:, :, None]), 2)


def check_weights(V: object, W: object, shape: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Weights on tokens, of one shape that ends in [2d+2, 2d+2].

    Args:
        V: value weights.
        W: key-query weights.
        shape: of both, in words.

    Raises:
        TypeError, ValueError: they are not so.
    """
    values = check.tensor("V", V, shape)
    scores = check.tensor("W", W, values.shape)
    rows, columns = values.shape[-2:]
    if rows != columns or rows % 2 or rows < 4 or 0 in values.shape:
        raise ValueError(f"V: expected shape [{', '.join(shape)}] with d >= 1, got {list(values.shape)}")
    if values.dtype != scores.dtype or values.device != scores.device:
        raise ValueError(
            f"W: expected {values.dtype} on {values.device} as V, got {scores.dtype} on {scores.device}; convert one"
        )
    return values, scores


def draw_weights(shape: tuple[int, ...], scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """V and W to begin a training with: independent N(0, scale^2), float32.

    Args:
        shape: of each.
        scale: standard deviation.
        seed: of PyTorch's generator on the CPU; the same numbers for the same version of PyTorch.
    """
    generator = torch.Generator().manual_seed(check.integer("seed", seed, 0, 2**64 - 1))
    scale = check.scale("scale", scale)
    check.room(8 * math.prod(shape), "dim, layers, heads: the weights", "ask for fewer of one of them")
    V, W = (scale * torch.randn(shape, generator=generator) for _ in range(2))
    return V, W
