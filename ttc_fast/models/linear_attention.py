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
from typing import Any

import torch
from torch import Tensor, nn

from ..numerics import check, sums
from ..tasks.base import Source
from ..tasks.metrics import truth
from ..tasks.prompts import Prompts, check_prompts
from .base import LinearState, linear_output
from .tokens import token_matrix


def _check_state(linear: Tensor, rest: Tensor) -> None:
    """Raise if it is not finite: it would be told of a state that the user has not seen; or if there are weights that
    it leaves out. A GPU is waited for once."""
    others, *extremes = torch.stack([rest.detach().any().to(linear.dtype), *linear.detach().aminmax()]).tolist()
    if others:
        raise ValueError("V: expected zeros outside its rows w and columns (x, y); other weights need forward()")
    if not all(map(math.isfinite, extremes)):
        raise ValueError(
            f"step_size: expected one with which the state (P S, P b) of these prompts is within {linear.dtype}, got "
            "infinity or NaN in it; take a smaller step_size (smaller weights V), or smaller features x and labels y"
        )


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

    kind = "linear_attention"
    """In files."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that it is made of besides its weights."""
        return {}

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
        size, kind = check.number("step_size", step_size), check.dtype("dtype", dtype)
        if abs(size) > torch.finfo(kind).max:
            raise ValueError(
                f"step_size: expected a number that {kind} can hold, up to {torch.finfo(kind).max:.2g}, got {size:g}"
            )
        check.room(
            2 * (2 * dim + 2) ** 2 * kind.itemsize, "dim: the weights of the transformer", "ask for fewer coefficients"
        )
        return cls._constructed(size * torch.eye(dim, dtype=kind))

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
        kind, given = check.dtype("dtype", dtype), check.numbers("covariance", covariance)
        matrix = torch.diag(given) if given.ndim == 1 else given
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
            raise ValueError(f"covariance: expected shape [d] or [d, d], got {list(given.shape)}")
        check.finite("covariance", matrix)
        gamma = (1 + 1 / examples) * matrix + matrix.trace() / examples * torch.eye(len(matrix), dtype=torch.float64)
        inverse, failed = torch.linalg.inv_ex(gamma)
        if failed or not inverse.to(kind).isfinite().all():
            came = check.shown(covariance)
            raise ValueError(f"covariance: expected one whose Gamma has an inverse in {kind}, got {came}")
        return cls._constructed(inverse.to(kind))

    @classmethod
    def trained(cls, prompts: Source, *, dtype: torch.dtype = torch.float32) -> LinearAttention:
        """Weights with the P that is best for one thought from w_0 ~ N(0, I) on these prompts, in closed form: what
        training for ``one_step`` finds, but for what other blocks of V and W learn by heart of a small pool. With
        u(w_0) - w* = (w_0 - w*) - P (S w_0 - b), P is

            (mean of S + w* b^T) (mean of S^2 + b b^T)^-1

        Args:
            prompts: with w*; as many as suffice, such as 4,096 of ``task.prompts``.
            dtype: of the weights.

        Raises:
            ValueError: the prompts lack w*, or are too few for the inverse.

        >>> import ttc_fast as tf
        >>> model = LinearAttention.trained(tf.LinearRegression(2, 5).prompts(5000))
        >>> [round(-v, 1) for v in model.V[3:5, :2].diagonal().tolist()]  # n / (n + d + 1) = 0.625
        [0.6, 0.6]
        """
        check.has("prompts", prompts, ("part", "__len__"), "Prompts, or what task.prompts(4096) gives")
        check.dtype("dtype", dtype)
        left = right = torch.zeros((), dtype=torch.float64)
        for tile in sums.tiles(len(prompts), 64):
            part = prompts.part(tile.start, tile.stop)
            check_prompts(part)
            x, y, w_star = part.x.double(), part.y.double(), truth(part).double()
            S, b = x.mT @ x / x.shape[1], (y[:, None] @ x).mT / x.shape[1]  # [B, d, d], [B, d, 1]
            left = left + (S + w_star.mT @ b.mT).sum(0)
            right = right + (S @ S + b @ b.mT).sum(0)
        inverse, failed = torch.linalg.inv_ex(right)
        if failed or not inverse.isfinite().all():
            raise ValueError(f"prompts: expected more of them, got {len(prompts)}: their moments have no inverse")
        return cls._constructed((left @ inverse).to(dtype))

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
        return token_matrix(x, y, w0)

    def forward(self, Z: Tensor, examples: int) -> Tensor:
        """The token matrix ``[B, 2d+2, L]`` with the next token appended, ``[B, 2d+2, L+1]``.

        Args:
            Z: tokens; the first ``examples`` columns are the prompt, the last one is the current thought.
            examples: n.
        """
        return torch.cat((Z, self.last_token(Z, examples)[:, :, None]), dim=2)

    def last_token(self, Z: Tensor, examples: int) -> Tensor:
        """f(Z)[:, -1] ``[B, 2d+2]``, the last column of Z + V Z (Z^T W Z) / n; differentiable.

        Args:
            Z: tokens ``[B, 2d+2, L]``, as of :meth:`forward`.
            examples: n.
        """
        last = Z[:, :, -1:]
        return (last + self.V @ (Z @ (Z.mT @ (self.W @ last))) / examples)[:, :, 0]

    def prefill(self, prompts: Prompts) -> LinearState:
        """The linear-attention state of prompts: next thought = w + linear (w, -1).

        With keys k_i = (x_i, y_i) it is sum_i v_i k_i^T, where v_i = -P x_i / n for the constructed
        weights. It replaces the tokens exactly, since thoughts have zero x- and y-blocks and V reads
        nothing else.

        Raises:
            ValueError: the prompts do not fit the model, or V reads the thoughts, so that no state exists.
        """
        d = self.dim
        check_prompts(prompts, d)
        x, y = prompts.x, prompts.y
        rest = self.V.clone()
        rest[d + 1 : -1, : d + 1] = 0
        key = torch.cat((x, y[:, :, None]), dim=2)
        moments = sums.matmul(key.mT, key) / x.shape[1]  # sum_i k_i k_i^T / n
        value = self.V[d + 1 : -1, : d + 1]
        query = torch.cat((self.W[: d + 1, d + 1 : -1], -self.W[: d + 1, -1:]), dim=1)  # acts on (w, -1)
        # The constructed weights ask for no products of labels, which may be too large for the dtype.
        unused = (value[:, d] == 0).all()
        moments[:, d, d] = moments[:, d, d].masked_fill(unused, 0.0)
        linear = sums.matmul(sums.matmul(value, moments), query)
        # A test of values would break the graph that torch.compile makes.
        if not torch.compiler.is_compiling():
            _check_state(linear, rest)
        return LinearState(linear)

    def output(self, state: LinearState, w: Tensor) -> Tensor:
        """What the transformer makes of thoughts ``[B, n, d]``: ``[B, n, d]``.

        Args:
            state: of :meth:`prefill`.
            w: the thoughts.
        """
        return linear_output(state, w)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
