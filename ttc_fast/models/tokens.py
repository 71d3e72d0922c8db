"""Prompts and thoughts as tokens, columns with the blocks (x, y, w, 1) of sizes d, 1, d, 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..numerics import check, rng


class TokenModel(nn.Module):
    """A transformer on such tokens, with value weights ``V [..., 2d+2, 2d+2]``: what it makes of the last one is its
    ``last_token``."""

    V: Tensor

    @property
    def dim(self) -> int:
        """d, the number of coefficients."""
        return self.V.shape[-1] // 2 - 1

    def last_token(self, Z: Tensor, examples: int) -> Tensor:
        """What the last token becomes ``[B, 2d+2]``: its w-block is the next thought.

        Args:
            Z: tokens ``[B, 2d+2, L]``, as of :meth:`forward`.
            examples: n.
        """
        raise NotImplementedError

    def forward(self, Z: Tensor, examples: int) -> Tensor:
        """The literal transformer: tokens ``[B, 2d+2, L]`` with the next one appended, ``[B, 2d+2, L+1]``.

        Args:
            Z: tokens; the first ``examples`` columns are the prompt, the last one is the current thought. Those
                between are earlier thoughts, which are neither keys nor values.
            examples: n.
        """
        return appended(Z, self.last_token(Z, examples)[:, self.dim + 1 : -1])


def token_matrix(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """The examples (x_i, y_i, 0, 0) and a thought (0, 0, w, 1): ``[B, 2d+2, n+1]``.

    Args:
        x: features ``[B, n, d]``.
        y: labels ``[B, n]``.
        w: a thought ``[B, d]``.
    """
    batch, examples, d = x.shape
    rows = x.new_zeros(batch, examples + 1, 2 * d + 2)  # a token after the other in memory, as in x
    rows[:, :-1, :d] = x
    rows[:, :-1, d] = y
    rows[:, -1, d + 1 : -1] = w
    rows[:, -1, -1] = 1.0
    return rows.mT


def products(a: Tensor, b: Tensor) -> Tensor:
    """a ``[B, p, k]`` times b ``[B, k, q]``; a single column as a row from the left, up to three times as fast.

    Args:
        a: matrices.
        b: matrices.
    """
    return (b.mT @ a.mT).mT if b.shape[2] == 1 else a @ b


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


def draw_weights(shape: tuple[int, ...], scale: float, seed: int, part: int = 0) -> Tensor:
    """Weights to begin a training with: independent N(0, scale^2), float32, from the stream of training.

    Args:
        shape: of the weights.
        scale: standard deviation.
        seed: integer in [0, 2^64).
        part: of the model; another one has other weights.
    """
    count, scale = math.prod(shape), check.scale("scale", scale)
    check.room(100 * count, "dim, layers, heads, hidden: the weights", "ask for fewer of one of them")
    index = torch.arange(-(-count // rng.STEPS_PER_BLOCK))
    words = rng.philox(
        rng.counter(rng.Stream.TRAINING, sample=index, block=part), check.integer("seed", seed, 0, 2**64 - 1)
    )
    normals = torch.stack(rng.normals(words, torch.float64), 1).flatten()[:count]
    return (scale * normals).float().reshape(shape)
