"""In-context linear regression whose labels have noise of heavy tails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.special import stdtrit
from torch import Tensor

from ..numerics import check
from .base import Task
from .linear_regression import LinearRegression, adopt, label_words
from .prompts import Prompts


@dataclass(frozen=True)
class HeavyTailedRegression(Task):
    """The task of :class:`LinearRegression` with noise of Student's t or Laplace's law in the labels.

    Args:
        dim, examples, spectrum, prior, nonzero: as there.
        label_noise: scale of the noise: of Student's t, whose variance is scale^2 df / (df - 2), or of Laplace's law,
            exp(-|e| / scale) / (2 scale), with the variance 2 scale^2.
        noise: ``"student"`` or ``"laplace"``.
        degrees: of freedom of Student's t; 1 is Cauchy's law.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> HeavyTailedRegression(3, 5, label_noise=0.1).sample(2).y.shape
    torch.Size([2, 5])
    """

    dim: int
    examples: int
    label_noise: float = 0.1
    noise: Literal["student", "laplace"] = "student"
    degrees: float = 3.0
    spectrum: float | Sequence[float] = 0.0
    prior: float | None = None
    nonzero: int | None = None

    def __post_init__(self) -> None:
        check.choice("noise", self.noise, ("student", "laplace"))
        object.__setattr__(self, "label_noise", check.number("label_noise", self.label_noise, 0.0))
        object.__setattr__(self, "degrees", check.number("degrees", self.degrees, 0.1))
        linear = LinearRegression(
            self.dim, self.examples, spectrum=self.spectrum, prior=self.prior, nonzero=self.nonzero
        )
        adopt(self, linear, "dim", "examples", "spectrum")
        object.__setattr__(self, "_linear", linear)

    def sample(self, prompts: int, *, seed: int = 0, first_prompt: int = 0) -> Prompts:
        """``prompts`` prompts with the global indices from ``first_prompt`` on: features and w* of
        :class:`LinearRegression`, noise from the stream of the labels' noise, by the inverse of its distribution.

        Args:
            prompts: B.
            seed: integer in [0, 2^64).
            first_prompt: global index of the first.
        """
        linear: LinearRegression = getattr(self, "_linear")  # noqa: B009  # no field, so of no type
        clean = linear.sample(prompts, seed=seed, first_prompt=first_prompt)
        noise = self.label_noise * self._noise(clean, int(seed))
        return Prompts(clean.x, (clean.y.double() + noise).float(), clean.w_star, clean.covariance, clean.first)

    def _noise(self, clean: Prompts, seed: int) -> Tensor:
        """Of scale 1, ``[B, n]``, by u = (word + 0.5) 2^-32."""
        u = (label_words(clean, seed).double() + 0.5) * 2.0**-32
        if self.noise == "student":
            return torch.from_numpy(stdtrit(self.degrees, u.numpy()))
        return torch.where(u < 0.5, torch.log(2 * u), -torch.log(2 * (1 - u)))
