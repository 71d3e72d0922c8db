"""Prompts of in-context linear regression with other features: what a model trained on x ~ N(0, I) may meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..numerics import check, rng, sums
from .base import Task
from .linear_regression import LinearRegression, adopt
from .metrics import truth
from .prompts import Prompts

Shift = Literal["skewed", "quadrants", "half_subspace", "sphere", "scaled_x", "scaled_y"]


@dataclass(frozen=True)
class ShiftedRegression(Task):
    """The task of :class:`LinearRegression`, x ~ N(0, I) and w* ~ N(0, I), after a change of features or labels.

    The shifts of Garg et al. (arXiv 2208.01066) and of Ahn et al. (2306.00297). With a direction of its own for each
    prompt, the covariance of features over all prompts, which defines the prediction risk, is the identity.

    - ``skewed``: covariance R diag(c / i^2) R^T, R a rotation of each prompt, of trace d.
    - ``quadrants``: all features of a prompt in one random orthant, x_j -> s_j |x_j|.
    - ``half_subspace``: features in a random subspace of dimension ceil(d / 2), of trace d.
    - ``sphere``: x -> sqrt(d) x / |x|.
    - ``scaled_x``, ``scaled_y``: features, or labels with w*, times ``scale``.

    Args:
        dim: d, coefficients.
        examples: n, examples of a prompt.
        shift: one of these.
        scale: of scaled_x and scaled_y.
        label_noise: standard deviation of the labels' noise.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> ShiftedRegression(4, 6, "sphere").sample(2).x.norm(dim=2).round(decimals=4).unique().tolist()
    [2.0]
    """

    dim: int
    examples: int
    shift: Shift = "skewed"
    scale: float = 2.0
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        check.choice("shift", self.shift, get_args(Shift))
        object.__setattr__(self, "scale", check.number("scale", self.scale))
        linear = LinearRegression(self.dim, self.examples, label_noise=self.label_noise)
        adopt(self, linear, "dim", "examples", "label_noise")

    def sample(self, prompts: int, *, seed: int = 0, first_prompt: int = 0) -> Prompts:
        """``prompts`` prompts with the global indices from ``first_prompt`` on.

        Args:
            prompts: B.
            seed: integer in [0, 2^64).
            first_prompt: global index of the first.
        """
        linear = LinearRegression(self.dim, self.examples, label_noise=self.label_noise)
        base = linear.sample(prompts, seed=seed, first_prompt=first_prompt)
        w_star = truth(base)[:, 0]
        noise = base.y.double() - sums.matmul(base.x.double(), w_star.double()[:, :, None])[:, :, 0]
        x, covariance = self._features(base, int(seed)), base.covariance
        if self.shift == "scaled_x":
            covariance = covariance * self.scale**2
        if self.shift == "scaled_y":
            w_star, noise = self.scale * w_star, self.scale * noise
        y = sums.matmul(x.double(), w_star.double()[:, :, None])[:, :, 0] + noise
        return Prompts(x, y.to(x), w_star, covariance, base.first)

    def _features(self, base: Prompts, seed: int) -> Tensor:
        x, dim = base.x.double(), self.dim
        if self.shift == "scaled_x":
            x = self.scale * x
        elif self.shift == "sphere":
            x = x * (dim / sums.tree_sum(x.square(), 2))[:, :, None].sqrt()
        elif self.shift == "quadrants":
            x = x.abs() * _directions(base, seed)[:, None, 0].sign()
        elif self.shift in ("skewed", "half_subspace"):
            index = torch.arange(1, dim + 1, dtype=torch.float64)
            kept = (index <= (dim + 1) // 2).double() if self.shift == "half_subspace" else index**-2
            rotation = torch.linalg.qr(_directions(base, seed))[0]
            x = sums.matmul(x * (kept * dim / kept.sum()).sqrt(), rotation.mT)
        return x.to(base.x)


def _directions(base: Prompts, seed: int) -> Tensor:
    """Normals ``[B, d, d]`` in float64 of each prompt: row i takes sample i of the stream of features."""
    size = base.x.shape[2]
    prompt = torch.arange(base.first, base.first + len(base))[:, None, None]
    row, column = torch.arange(1, size + 1)[:, None], torch.arange(size)
    words = rng.philox(rng.counter(rng.Stream.FEATURES, prompt=prompt, sample=row, coordinate=column), seed)
    return rng.normals(words, torch.float64)[0]
