"""Decoding rules: how the next thought is drawn, given the output u of the transformer.

A rule is a frozen dataclass: it holds the parameters of the law, the backends hold the loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor

from ..numerics import check

DEFAULT_TEMPERATURE: Final = 0.25


@dataclass(frozen=True)
class GeometricDecay:
    """Noise schedule sigma_t = initial * ratio^t, in units of w."""

    initial: float
    ratio: float

    def __post_init__(self) -> None:
        check.number("initial", self.initial, low=0.0)
        check.number("ratio", self.ratio, low=0.0)

    def scales(self, steps: int) -> Tensor:
        """float64 tensor [steps]."""
        return self.initial * self.ratio ** torch.arange(steps, dtype=torch.float64)


@dataclass(frozen=True)
class PowerLawDecay:
    """Noise schedule sigma_t = initial * (t + 1)^-exponent, in units of w."""

    initial: float
    exponent: float

    def __post_init__(self) -> None:
        check.number("initial", self.initial, low=0.0)
        check.number("exponent", self.exponent)

    def scales(self, steps: int) -> Tensor:
        """float64 tensor [steps]."""
        return self.initial * torch.arange(1, steps + 1, dtype=torch.float64) ** -self.exponent


NoiseSchedule: TypeAlias = float | GeometricDecay | PowerLawDecay | Sequence[float]


@dataclass(frozen=True)
class GaussianNoise:
    """Continuous coefficients: w_{t+1} = u(w_t) + sigma_t xi_t, xi_t ~ N(0, I).

    Args:
        noise_scale: the standard deviation sigma_t, in units of w: one number for every step, a
            :class:`GeometricDecay`, a :class:`PowerLawDecay`, or a sequence (or 1-D tensor) with one
            number per step. 0 is greedy decoding.
    """

    noise_scale: NoiseSchedule | Tensor = 0.1

    def __post_init__(self) -> None:
        scale = self.noise_scale
        if isinstance(scale, (int, float, str)):
            check.number("noise_scale", scale, low=0.0)
        elif not isinstance(scale, (GeometricDecay, PowerLawDecay)):
            values = torch.as_tensor(scale, dtype=torch.float64)
            if values.ndim == 1 and values.stride(0) == 0:  # one number for any number of steps
                values = values[:1]
            if values.ndim != 1 or (len(values) and not 0 <= values.min().item() <= values.max().item() < math.inf):
                raise ValueError(f"noise_scale: expected finite numbers >= 0, one for each step, got {scale}")

    def scales(self, steps: int) -> Tensor:
        """The schedule sigma_0, ..., sigma_{steps-1} as a float64 tensor [steps]."""
        scale = self.noise_scale
        if isinstance(scale, (GeometricDecay, PowerLawDecay)):
            return scale.scales(steps)
        if isinstance(scale, (int, float)):
            return torch.tensor(float(scale), dtype=torch.float64).expand(steps)
        if len(scale) < steps:
            raise ValueError(f"noise_scale: expected one number for each of {steps} steps, got {len(scale)}")
        return torch.as_tensor(scale, dtype=torch.float64)[:steps]

    def greedy(self) -> GaussianNoise:
        """The same rule without noise."""
        return GaussianNoise(0.0)


@dataclass(frozen=True)
class BernoulliSampling:
    """Binary coefficients: w_{t+1,i} ~ Bernoulli(p_i), drawn as 1 iff uniform < p_i.

    Args:
        link: ``"sigmoid"``: p = 1 / (1 + exp(-(u - 1/2) / temperature)); ``"clip"``: p = clip(u, 0, 1).
        temperature: of the sigmoid link; 0 is greedy decoding, p = 1 where u > 1/2, else 0. Default
            0.25 for the sigmoid link; the clip link has none.
        sample_at: ``"every_step"``: the drawn bits are the next thought; ``"last_step"``: the thoughts
            stay continuous, and only the answer read off at an asked step is drawn.
    """

    link: Literal["sigmoid", "clip"] = "sigmoid"
    temperature: float | None = None
    sample_at: Literal["every_step", "last_step"] = "every_step"

    def __post_init__(self) -> None:
        check.choice("link", self.link, ("sigmoid", "clip"))
        check.choice("sample_at", self.sample_at, ("every_step", "last_step"))
        if self.link == "sigmoid":
            temperature = DEFAULT_TEMPERATURE if self.temperature is None else self.temperature
            object.__setattr__(self, "temperature", check.number("temperature", temperature, low=0.0))
        elif self.temperature is not None:
            raise ValueError(
                f"temperature: expected none with link='clip', got {self.temperature}; leave it out, "
                "or take link='sigmoid'"
            )

    def probability(self, u: Tensor) -> Tensor:
        """P(coefficient = 1) given the transformer's output ``u``, of any shape."""
        if self.temperature is None:  # link="clip"
            return u.clamp(0.0, 1.0)
        if self.temperature == 0:
            return (u > 0.5).to(u.dtype)
        # Not torch.sigmoid: its bits depend on the position of an element within a vector.
        return 1.0 / (1.0 + torch.exp((0.5 - u) / self.temperature))

    def greedy(self) -> BernoulliSampling:
        """The same rule without chance: every draw becomes its more probable value."""
        return BernoulliSampling("sigmoid", 0.0, self.sample_at)


Rule: TypeAlias = GaussianNoise | BernoulliSampling
