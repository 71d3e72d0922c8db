"""Decoding rules of the authors of Chen et al., arXiv 2508.07571, as far as they are known.

Source: an early repository of the first author (github x1ng5/gd_sampling, December 2024). There sums over the examples
are not divided by their number n: G = X^T X, step eta. In our units step_size = eta n.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from ..numerics import check, sums
from . import mean_square
from .draws import Draws
from .gaussian_chain import affine
from .rules import EncodedRule, GaussianNoise, Rule
from .schedules import MOST_STEPS, NoiseSchedule, checked_schedule, encoded_schedule, scale_of_step

LEAST_WEIGHT: Final = 1e-10
"""Of a coordinate in :class:`SubsetSampling`."""

MOST_WEIGHT: Final = 1e30
"""Above it the quotient of a draw would leave the normal numbers of float32."""


@dataclass(frozen=True)
class RankOneNoise(Rule):
    """Continuous coefficients: w_{t+1} = u(w_t) - kappa_t xi_t <xi_t, w_t>, xi_t ~ N(0, I): on average descent with
    a ridge.

    The main rule of Chen et al.'s authors, w - eta (G w - c + s^2 xi xi^T w) with sums G that are not divided by n:
    step_size = eta n, strength = eta s^2. Its mean is gradient descent on the loss with the ridge s^2 |w|^2.

    Args:
        strength: kappa_t, at least 0: one number for every step, an object with ``scales(steps)``, or a sequence with
            one number per step. 0 is greedy decoding.
    """

    strength: NoiseSchedule = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", checked_schedule("strength", self.strength))

    def scales(self, steps: int) -> Tensor:
        """The schedule kappa_0, ..., kappa_{steps-1} as a float64 tensor [steps]."""
        return self.encode(check.integer("steps", steps, 0, MOST_STEPS)).scales(steps)

    def encode(self, steps: int) -> EncodedRule:
        return EncodedRule("rank_one", encoded_schedule("strength", self.strength, steps))

    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        xi = draws.normal()
        along = sums.tree_sum(xi * w, 2)[..., None]
        return u - scale_of_step(self.strength, draws.step) * along * xi

    def ridge(self, steps: int) -> Tensor:
        """kappa_t."""
        return self.encode(steps).schedule

    def diverges(self, state: Tensor) -> Tensor:
        """Prompts whose E |w|^2 grows without bound, with the first scale of a schedule at all steps: ``[B]`` bool.

        Args:
            state: of linear attention, ``[B, d, d+1]``.
        """
        scale = scale_of_step(self.strength, 0)
        return mean_square.diverges(affine(state)[0], scale, rank_one=True)

    def greedy(self) -> GaussianNoise:
        """The same rule without noise."""
        return GaussianNoise(0.0)


@dataclass(frozen=True)
class ElementwiseNoise(Rule):
    """Continuous coefficients: w_{t+1} = u(w_t) + kappa_t w_t * xi_t, coefficient by coefficient, xi_t ~ N(0, I).

    A rule of Chen et al.'s authors, w - eta (G w - c + s w * xi) with sums that are not divided by n: step_size =
    eta n, noise_scale = eta s. Its mean is plain gradient descent.

    Args:
        noise_scale: kappa_t, relative to w, at least 0: one number for every step, an object with
            ``scales(steps)``, or a sequence with one number per step. 0 is greedy decoding.
    """

    noise_scale: NoiseSchedule = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_scale", checked_schedule("noise_scale", self.noise_scale))

    def scales(self, steps: int) -> Tensor:
        """The schedule kappa_0, ..., kappa_{steps-1} as a float64 tensor [steps]."""
        return self.encode(check.integer("steps", steps, 0, MOST_STEPS)).scales(steps)

    def encode(self, steps: int) -> EncodedRule:
        return EncodedRule("elementwise", encoded_schedule("noise_scale", self.noise_scale, steps))

    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        return u + scale_of_step(self.noise_scale, draws.step) * w * draws.normal()

    def diverges(self, state: Tensor) -> Tensor:
        """Prompts whose E |w|^2 grows without bound, with the first scale of a schedule at all steps: ``[B]`` bool.

        Args:
            state: of linear attention, ``[B, d, d+1]``.
        """
        scale = scale_of_step(self.noise_scale, 0)
        return mean_square.diverges(affine(state)[0], scale, rank_one=False)

    def greedy(self) -> GaussianNoise:
        """The same rule without noise."""
        return GaussianNoise(0.0)


@dataclass(frozen=True)
class SubsetSampling(Rule):
    """Binary coefficients with exactly k ones: k coordinates drawn without replacement, in proportion to
    v = max(u, 1e-10), successive sampling (Plackett-Luce).

    The binary rule of Chen et al.'s authors, who do not divide sums by n: step_size = eta n = 1. Drawn as the k
    smallest of E_i / v_i with independent exponentials E_i, which has the same law; of equal ones the first.
    ``w_0`` need not have k ones. A NaN of u counts as not positive, and what is above 1e30 as 1e30.

    Args:
        ones: k, from 1 to d.
    """

    ones: int

    binary = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "ones", check.integer("ones", self.ones, 1, 2**24))

    def weights(self, u: Tensor) -> Tensor:
        """v given the transformer's output ``u``, of any shape."""
        return u.nan_to_num(nan=0.0).clamp(LEAST_WEIGHT, MOST_WEIGHT)

    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        return _smallest(draws.exponential() / self.weights(u), self.ones)

    def encode(self, steps: int) -> EncodedRule:
        return EncodedRule("subset", torch.zeros(1, dtype=torch.float64), ones=self.ones)

    def greedy(self) -> LargestCoefficients:
        """The k largest of u."""
        return LargestCoefficients(self.ones)


@dataclass(frozen=True)
class LargestCoefficients(Rule):
    """Greedy decoding of :class:`SubsetSampling`: ones at the k largest of max(u, 1e-10), of equal ones the first.

    Args:
        ones: k, from 1 to d.
    """

    ones: int

    binary = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "ones", check.integer("ones", self.ones, 1, 2**24))

    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        return _smallest(-SubsetSampling(self.ones).weights(u), self.ones)

    def encode(self, steps: int) -> EncodedRule:
        return EncodedRule("largest", torch.zeros(1, dtype=torch.float64), ones=self.ones)

    def greedy(self) -> LargestCoefficients:
        """Itself."""
        return self


def _smallest(keys: Tensor, ones: int) -> Tensor:
    """1 at the k smallest of ``keys [b, n, d]``, of equal ones the first, 0 elsewhere."""
    check_ones(ones, keys.shape[2])
    chosen = keys.sort(dim=2, stable=True).indices[..., :ones]
    return torch.zeros_like(keys).scatter_(2, chosen, 1.0)


def check_ones(ones: int, dim: int) -> None:
    """No more ones than coefficients.

    Args:
        ones: k.
        dim: d.

    Raises:
        ValueError: there are more.
    """
    if ones > dim:
        raise ValueError(f"ones: expected at most the {dim} coefficients, got {ones}")
