"""Given a prompt, noise in proportion to the thought: exact mean and covariance of a thought, and stability.

The rules are those of the authors of Chen et al., arXiv 2508.07571, as far as they are known: an early repository of
the first author, github x1ng5/gd_sampling, December 2024. There sums over the examples are not divided by their number
n: G = n S, step eta, w_0 = 0 and w - eta (G w - c + s^2 xi xi^T w). In our units step_size = eta n and kappa = eta s^2,
w_{t+1} = u(w_t) - kappa_t xi_t xi_t^T w_t, u(w) = A w + c, A = I - P S, c = P b. With M_t = A - kappa_t I, and m and C
the mean and covariance, Q = C + m m^T = E w w^T:

    rank-one       m' = M m + c,  C' = M C M^T + kappa^2 (tr(Q) I + Q)
    element-wise   m' = A m + c,  C' = A C A^T + kappa^2 diag(Q)

so that the mean of the rank-one rule is gradient descent with a ridge (``ridge.py``). A thought is not Gaussian, but
these two moments give every metric that is quadratic in it. All is float64; the recursions are derived here, and
tested by simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..decoding import mean_square
from ..decoding.gaussian_chain import affine
from ..decoding.rules import EncodedRule, Rule
from ..numerics import check, sums
from ..numerics.protocols import complete, described
from .walk import Walk


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of thoughts."""

    mean: Tensor
    """``[B, d]``."""
    covariance: Tensor
    """``[B, d, d]``."""

    @property
    def second(self) -> Tensor:
        """E w w^T ``[B, d, d]``."""
        return self.covariance + self.mean[:, :, None] * self.mean[:, None, :]

    def spread(self, matrix: Tensor) -> Tensor:
        """tr(matrix C) ``[B]``."""
        return (matrix * self.covariance).sum((1, 2))


class MultiplicativeChain:
    """Moments of the thoughts of B prompts under :class:`RankOneNoise` or :class:`ElementwiseNoise`.

    Args:
        state: ``[B, d, d+1]``.
        rule: the noise, relative to w.

    Raises:
        TypeError: the rule is of another kind.
        ValueError: a shape is not as described.
    """

    def __init__(self, state: Tensor, rule: Rule) -> None:
        check.tensor("state", state, ("B", "d", "d+1"))
        self._rule = complete(rule, Rule, "rule")
        self._ridge = _encoded(self._rule, 1).kind == "rank_one"
        self._matrix, self._offset = affine(state)
        self.symmetric = torch.equal(self._matrix, self._matrix.mT)

    def start(self, w0: Tensor | None = None) -> Moments:
        """At step 0.

        Args:
            w0: initial thought ``[B, d]``, default zero.
        """
        mean = torch.zeros_like(self._offset)
        if w0 is not None:
            mean = check.tensor("w0", w0, mean.shape).detach().cpu().double()
        return Moments(mean, torch.zeros_like(self._matrix))

    def advance(self, moments: Moments, first: int, last: int) -> Moments:
        """From one step to a later one; d^2 multiplications for each step if it is rank-one with P = eta I, else d^3.

        Args:
            moments: at step ``first``.
            first, last: the steps.
        """
        scales = _encoded(self._rule, last).scales(last)[first:].tolist()
        return self._in_eigenbasis(moments, scales) if self._diagonal else self._by_products(moments, scales)

    @property
    def _diagonal(self) -> bool:
        """Whether the eigenbasis of A makes the recursion one of single numbers: isotropic noise, P = eta I."""
        return self._ridge and self.symmetric

    def work(self, steps: int) -> int:
        """Multiplications for each prompt, about.

        Args:
            steps: T.
        """
        return steps * self._matrix.shape[1] ** (2 if self._diagonal else 3)

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        values, axes = sums.eigh(self._matrix)
        return values, axes

    def _in_eigenbasis(self, moments: Moments, scales: Sequence[float]) -> Moments:
        a, axes = self._eigen
        mean, offset = (sums.products(axes.mT, v[:, :, None])[:, :, 0] for v in (moments.mean, self._offset))
        covariance = sums.products(sums.products(axes.mT, moments.covariance), axes)
        for scale in scales:
            m = a - scale
            covariance = covariance * (m[:, :, None] * m[:, None, :]) + scale**2 * _ridge_noise(mean, covariance)
            mean = m * mean + offset
        turned = sums.products(sums.products(axes, covariance), axes.mT)
        return Moments(sums.products(axes, mean[:, :, None])[:, :, 0], turned)

    def _by_products(self, moments: Moments, scales: Sequence[float]) -> Moments:
        mean, covariance, identity = moments.mean, moments.covariance, torch.eye(moments.mean.shape[1]).double()
        for scale in scales:
            M = self._matrix - scale * identity if self._ridge else self._matrix
            noise = _ridge_noise(mean, covariance) if self._ridge else _diagonal_noise(mean, covariance)
            covariance = sums.products(sums.products(M, covariance), M.mT) + scale**2 * noise
            mean = sums.products(M, mean[:, :, None])[:, :, 0] + self._offset
        return Moments(mean, covariance)


def _encoded(rule: Rule, steps: int) -> EncodedRule:
    encoded = rule.encode(steps)
    if encoded is None or encoded.kind not in ("rank_one", "elementwise"):
        raise TypeError(f"rule: expected RankOneNoise or ElementwiseNoise, got {described(rule)}")
    return encoded


def _ridge_noise(mean: Tensor, covariance: Tensor) -> Tensor:
    """tr(Q) I + Q, the covariance of xi xi^T w."""
    second = covariance + mean[:, :, None] * mean[:, None, :]
    second.diagonal(dim1=1, dim2=2).add_(second.diagonal(dim1=1, dim2=2).sum(1, keepdim=True))
    return second


def _diagonal_noise(mean: Tensor, covariance: Tensor) -> Tensor:
    """diag(Q), the covariance of w * xi."""
    return torch.diag_embed(covariance.diagonal(dim1=1, dim2=2) + mean**2)


def moments(state: Tensor, rule: Rule, steps: Sequence[int], w0: Tensor | None = None) -> list[Moments]:
    """Mean and covariance, hence E w w^T, of the thoughts at asked steps given their prompt.

    Args:
        state: ``[B, d, d+1]``.
        rule: a :class:`RankOneNoise` or :class:`ElementwiseNoise`, with any schedule.
        steps: the T.
        w0: initial thought ``[B, d]``, default zero.

    Returns:
        One for each step, in the order asked, float64 on the CPU.

    Raises:
        TypeError: the rule is of another kind.
        ValueError: a shape is not as described.

    From w_0 = 0 the first thought has no noise, the second has; its variance is kappa^2 (tr(Q) + Q_ii):

    >>> import ttc_fast as tf
    >>> state = -0.5 * torch.cat((torch.eye(2), torch.ones(2, 1)), 1)[None]  # towards (1, 1), half of the way
    >>> first, second = moments(state, tf.RankOneNoise(0.1), steps=[1, 2])
    >>> first.covariance[0].tolist(), second.mean[0].numpy().round(6).tolist()
    ([[0.0, 0.0], [0.0, 0.0]], [0.7, 0.7])
    >>> second.covariance[0].numpy().round(6).tolist()
    [[0.0075, 0.0025], [0.0025, 0.0075]]
    """
    chain = MultiplicativeChain(state, rule)
    walk = Walk(chain.start(w0), chain.advance)
    found = {step: walk.at(step) for step in sorted(set(steps))}
    return [found[step] for step in steps]


def mean_square_radius(state: Tensor, rule: Rule) -> Tensor:
    """Factor by which E w w^T grows with each step in the long run: below 1 the chain is stable in mean square.

    Args:
        state: ``[B, d, d+1]``.
        rule: a :class:`RankOneNoise` or :class:`ElementwiseNoise`; of a schedule the first scale, for all steps.

    Returns:
        ``[B]``.

    Raises:
        TypeError: the rule is of another kind.
        ValueError: a shape is not as described.

    >>> import ttc_fast as tf
    >>> state = -0.5 * torch.cat((torch.eye(2), torch.ones(2, 1)), 1)[None]
    >>> mean_square_radius(state, tf.RankOneNoise(0.1)).numpy().round(6).tolist()  # 0.4^2 + (d + 1) 0.1^2
    [0.19]
    """
    check.tensor("state", state, ("B", "d", "d+1"))
    encoded = _encoded(complete(rule, Rule, "rule"), 1)
    return mean_square.radius(affine(state)[0], float(encoded.schedule[0]), rank_one=encoded.kind == "rank_one")
