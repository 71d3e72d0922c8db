"""The transformer: linear self-attention with the weights that make its thoughts gradient descent.

A prompt is the token matrix Z_0 ``[2d+2, n+1]``; a column is a token with blocks (x, y, w, 1):

    [ x_1 ... x_n   0  ]
    [ y_1 ... y_n   0  ]      f(Z) = Z + V Z (Z^T W Z) / n
    [  0  ...  0   w_0 ]
    [  0  ...  0    1  ]      next token = last column of f(Z); its w-block is the next thought

Sources: Chen, Lu, Wu, Zou, arXiv 2508.07571; the weights: Huang, Wang, Lee, arXiv 2502.21212, and
arXiv 2510.03605.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..numerics import check, sums
from ..tasks.prompts import Prompts
from .base import LinearState, linear_output


def default_step_size(dim: int, examples: int) -> float:
    """n / (n + d + 1): what training finds for x ~ N(0, I), and the step with the least error after one
    thought (2510.03605).

    Args:
        dim: d.
        examples: n.

    Returns:
        The step size eta.

    >>> default_step_size(16, 64)
    0.7901234567901234
    """
    check.integer("dim", dim, 1, 2**24 - 1)
    check.integer("examples", examples, 1, 2**34 - 1)
    return examples / (examples + dim + 1)


def stable_step_size(dim: int, examples: int) -> float:
    """1 / (1 + sqrt(d/n))^2, for x ~ N(0, I): one over the largest eigenvalue of S, for large n and d (Marchenko and
    Pastur, 1967). Chains diverge from twice that step on, so that a long chain does so for very rare prompts only.

    Args:
        dim: d.
        examples: n.

    Returns:
        The step size eta.

    >>> stable_step_size(16, 64)
    0.4444444444444444
    """
    check.integer("dim", dim, 1, 2**24 - 1)
    check.integer("examples", examples, 1, 2**34 - 1)
    return 1 / (1 + math.sqrt(dim / examples)) ** 2


class LinearAttention(nn.Module):
    """One head of linear self-attention on tokens of size 2d+2.

    Args:
        V: value (times output) weights ``[2d+2, 2d+2]``, float32 or float64.
        W: key-query weights ``[2d+2, 2d+2]``.
    """

    def __init__(self, V: Tensor, W: Tensor) -> None:
        super().__init__()
        check.tensor("V", V, ("2d+2", "2d+2"))
        check.tensor("W", W, V.shape)
        if V.shape[0] != V.shape[1] or V.shape[0] % 2 or V.shape[0] < 4:
            raise ValueError(f"V: expected shape [2d+2, 2d+2] with d >= 1, got {list(V.shape)}")
        self.V = nn.Parameter(V)
        self.W = nn.Parameter(W)

    @property
    def dim(self) -> int:
        """d, the number of coefficients."""
        return self.V.shape[0] // 2 - 1

    @classmethod
    def gradient_descent(
        cls,
        dim: int,
        *,
        step_size: float | None = None,
        examples: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> LinearAttention:
        """Weights with P = step_size I: every thought is one step of gradient descent (2502.21212).

        Args:
            dim: d.
            step_size: eta; by default that which training with n examples finds, :func:`default_step_size`.
            examples: n.
            dtype: of the weights.

        Raises:
            TypeError, ValueError: an argument is not as described, or neither step_size nor examples is given.

        >>> LinearAttention.gradient_descent(3, examples=12)
        LinearAttention(dim=3)
        """
        check.integer("dim", dim, 1, 2**24 - 1)
        if step_size is None:
            if examples is None:
                raise ValueError("step_size: expected a number, or examples to derive it from, got neither")
            step_size = default_step_size(dim, examples)
        check.number("step_size", step_size)
        return cls._constructed(step_size * torch.eye(dim, dtype=dtype))

    @classmethod
    def preconditioned(
        cls, covariance: Tensor | Sequence[float], examples: int, *, dtype: torch.dtype = torch.float32
    ) -> LinearAttention:
        """Weights with P = Gamma^-1, Gamma = (1 + 1/n) Lambda + tr(Lambda)/n I: what training on
        x ~ N(0, Lambda) with n examples finds (2510.03605).

        Args:
            covariance: Lambda as its diagonal ``[d]`` or as a matrix ``[d, d]``.
            examples: n.
        """
        check.integer("examples", examples, 1, 2**34 - 1)
        matrix = torch.as_tensor(covariance, dtype=torch.float64)
        matrix = torch.diag(matrix) if matrix.ndim == 1 else matrix
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
            raise ValueError(f"covariance: expected shape [d] or [d, d], got {list(torch.as_tensor(covariance).shape)}")
        check.finite("covariance", matrix)
        gamma = (1 + 1 / examples) * matrix + matrix.trace() / examples * torch.eye(len(matrix), dtype=torch.float64)
        return cls._constructed(torch.linalg.inv(gamma).to(dtype))

    @classmethod
    def _constructed(cls, P: Tensor) -> LinearAttention:
        """The weights for a preconditioner P ``[d, d]`` (design: blocks d, 1, d, 1)."""
        d = len(P)
        V, W = P.new_zeros(2, 2 * d + 2, 2 * d + 2)
        V[d + 1 : -1, :d] = -P
        W[:d, d + 1 : -1] = torch.eye(d, dtype=P.dtype)
        W[d, -1] = -1.0
        return cls(V, W)

    def tokens(self, x: Tensor, y: Tensor, w0: Tensor) -> Tensor:
        """The token matrix Z_0 ``[B, 2d+2, n+1]``.

        Args:
            x: features ``[B, n, d]``.
            y: labels ``[B, n]``.
            w0: a thought ``[B, d]``.
        """
        batch, examples, d = x.shape
        Z = x.new_zeros(batch, 2 * d + 2, examples + 1)
        Z[:, :d, :-1] = x.mT
        Z[:, d, :-1] = y
        Z[:, d + 1 : -1, -1] = w0
        Z[:, -1, -1] = 1.0
        return Z

    def forward(self, Z: Tensor, examples: int) -> Tensor:
        """The token matrix ``[B, 2d+2, L]`` with the next token appended, ``[B, 2d+2, L+1]``.

        Args:
            Z: tokens; the first ``examples`` columns are the prompt, the last one is the current thought.
            examples: n.
        """
        f = Z + self.V @ Z @ (Z.mT @ self.W @ Z) / examples
        return torch.cat((Z, f[:, :, -1:]), dim=2)

    def prefill(self, prompts: Prompts) -> LinearState:
        """The linear-attention state of prompts: next thought = w + linear (w, -1).

        With keys k_i = (x_i, y_i) it is sum_i v_i k_i^T, where v_i = -P x_i / n for the constructed
        weights. It replaces the tokens exactly, since thoughts have zero x- and y-blocks and V reads
        nothing else.

        Raises:
            ValueError: the prompts do not fit the model, or V reads the thoughts, so that no state exists.
        """
        x, y, d = prompts.x, prompts.y, self.dim
        check.tensor("x", x, ("B", "n", d))
        rest = self.V.clone()
        rest[d + 1 : -1, : d + 1] = 0
        # A test of values would break the graph that torch.compile makes.
        if not torch.compiler.is_compiling() and bool(rest.any()):
            raise ValueError("V: expected zeros outside its rows w and columns (x, y); other weights need forward()")
        key = torch.cat((x, y[:, :, None]), dim=2)
        moments = sums.matmul(key.mT, key) / x.shape[1]  # sum_i k_i k_i^T / n
        value = self.V[d + 1 : -1, : d + 1]
        query = torch.cat((self.W[: d + 1, d + 1 : -1], -self.W[: d + 1, -1:]), dim=1)  # acts on (w, -1)
        return LinearState(sums.matmul(sums.matmul(value, moments), query))

    def output(self, state: LinearState, w: Tensor) -> Tensor:
        """What the transformer makes of thoughts ``[B, n, d]``: ``[B, n, d]``.

        Args:
            state: of :meth:`prefill`.
            w: the thoughts.
        """
        return linear_output(state, w)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
