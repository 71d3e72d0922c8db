"""Decoding rules: how the next thought is drawn, given the output u of the transformer.

A rule holds the parameters of a law; the backends hold the loop. :class:`Rule` is what a user's own rule must be.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from ..numerics import check
from .draws import Draws

DEFAULT_TEMPERATURE: Final = 0.25


class EncodedRule(NamedTuple):
    """A rule as the fused kernels take it."""

    kind: str
    """``"gaussian"``, ``"clip"``, ``"sigmoid"`` or ``"threshold"``."""
    schedule: Tensor
    """Noise scales, float64: one for every step ``[steps]``, or a single one for all of them ``[1]``."""
    temperature: float = 1.0
    """Of the sigmoid."""
    every_step: bool = True
    """False: the thoughts stay what the transformer says, and only an answer that is asked for is drawn."""

    def scales(self, steps: int) -> Tensor:
        """The schedule with one number for each step, float64 ``[steps]``."""
        return self.schedule.expand(steps) if len(self.schedule) == 1 else self.schedule[:steps]


class Rule(Protocol):
    """How the next thought is drawn. A user's own rule needs :meth:`thought` alone; the rest has defaults.

    >>> import torch, ttc_fast as tf
    >>> class UniformNoise:
    ...     def thought(self, u, w, draws):
    ...         return u + 0.3 * (2 * draws.uniform() - 1)
    >>> prompts = tf.LinearRegression(4, 16).sample(2)
    >>> decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(4, examples=16), UniformNoise())
    >>> decoder(prompts, steps=[3], samples=5).thoughts.shape
    torch.Size([1, 2, 5, 4])
    """

    binary: bool = False
    """Whether the answers are bits."""

    @property
    def resumable(self) -> bool:
        """Whether an answer is the thought itself, so that it tells how its chain goes on; searches need that. A rule
        with a method :meth:`answer` of its own says False."""
        return True

    @abstractmethod
    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        """The next thought ``[b, n, d]``: the definition that every kernel is checked against.

        Args:
            u: what the transformer makes of ``w``, ``[b, n, d]``; n is 1 as long as all samples agree.
            w: the thought before, of the same shape.
            draws: the random numbers of this step, and its number ``draws.step``.
        """

    def answer(self, thought: Tensor, draws: Draws) -> Tensor:
        """What is read off a thought that is asked for ``[b, n, d]``; the chain goes on from the thought itself.

        Args:
            thought: as :meth:`thought` returned it.
            draws: those of the same step.
        """
        return thought

    def encode(self, steps: int) -> EncodedRule | None:
        """The rule as the kernels take it, for ``steps`` steps; None: it has no kernel, and runs in PyTorch."""
        return None

    def greedy(self) -> Rule:
        """The same rule without randomness."""
        return BernoulliSampling(temperature=0.0) if self.binary else GaussianNoise(0.0)


class Schedule(Protocol):
    """Noise scales that change from step to step; a user's own class will do."""

    def scales(self, steps: int) -> Tensor:
        """sigma_0, ..., sigma_{steps-1}, at least 0: ``[steps]``. A step's scale does not depend on how many there are:
        chains are cut, resumed and asked for at several steps."""


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


NoiseSchedule: TypeAlias = float | Schedule | Sequence[float] | Tensor
"""A number for every step, an object with ``scales(steps)``, or one number for each step."""


@dataclass(frozen=True)
class GaussianNoise(Rule):
    """Continuous coefficients: w_{t+1} = u(w_t) + sigma_t xi_t, xi_t ~ N(0, I).

    Args:
        noise_scale: the standard deviation sigma_t, in units of w: one number for every step, a
            :class:`GeometricDecay`, a :class:`PowerLawDecay` or another object with ``scales(steps)``, or a
            sequence (or 1-D tensor) with one number per step. 0 is greedy decoding.
    """

    noise_scale: NoiseSchedule = 0.1

    def __post_init__(self) -> None:
        scale = self.noise_scale
        if hasattr(scale, "scales"):
            return
        if isinstance(scale, (int, float, str)):
            check.number("noise_scale", scale, low=0.0)
            return
        values = torch.as_tensor(scale, dtype=torch.float64)
        if values.ndim != 1 or not _are_scales(values):
            raise ValueError(f"noise_scale: expected finite numbers >= 0, one for each step, got {scale}")
        object.__setattr__(self, "noise_scale", tuple(values.tolist()))  # hashable and comparable

    def scales(self, steps: int) -> Tensor:
        """The schedule sigma_0, ..., sigma_{steps-1} as a float64 tensor [steps]."""
        encoded: EncodedRule = self.encode(steps)
        return encoded.scales(steps)

    def encode(self, steps: int) -> EncodedRule:
        scale = self.noise_scale
        if isinstance(scale, (int, float)):
            return EncodedRule("gaussian", torch.tensor([float(scale)], dtype=torch.float64))
        if isinstance(scale, tuple):
            if len(scale) < steps:
                raise ValueError(f"noise_scale: expected one number for each of {steps} steps, got {len(scale)}")
            return EncodedRule("gaussian", torch.tensor(scale[:steps], dtype=torch.float64))
        values = torch.as_tensor(scale.scales(steps), dtype=torch.float64)  # type: ignore[union-attr]  # a Schedule
        if values.shape != (steps,) or not (torch.compiler.is_compiling() or _are_scales(values)):
            raise ValueError(
                f"noise_scale: expected {steps} finite numbers >= 0 of {scale}.scales({steps}), got {values.tolist()}"
            )
        if steps > 1 and not torch.compiler.is_compiling():
            shorter = torch.as_tensor(scale.scales(steps - 1), dtype=torch.float64)  # type: ignore[union-attr]
            if not torch.allclose(values[:-1], shorter, rtol=1e-6, atol=0.0):
                raise ValueError(
                    f"noise_scale: expected a scale of each step whatever their number, got a {type(scale).__name__} "
                    f"whose scales({steps}) do not begin with its scales({steps - 1}); give it the number of steps"
                )
        return EncodedRule("gaussian", values)

    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        return u + self._scale(draws.step) * draws.normal()

    def _scale(self, step: int) -> float:
        scale = self.noise_scale
        if isinstance(scale, (int, float)):
            return scale
        return float(self.scales(step + 1)[step])

    def greedy(self) -> GaussianNoise:
        """The same rule without noise."""
        return GaussianNoise(0.0)


def _are_scales(values: Tensor) -> bool:
    return not len(values) or 0 <= values.min().item() <= values.max().item() < math.inf


@dataclass(frozen=True)
class BernoulliSampling(Rule):
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

    binary = True

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

    @property
    def resumable(self) -> bool:
        """Only if bits are drawn at every step."""
        return self.sample_at == "every_step"

    def probability(self, u: Tensor) -> Tensor:
        """P(coefficient = 1) given the transformer's output ``u``, of any shape."""
        if self.temperature is None:  # link="clip"
            return u.clamp(0.0, 1.0)
        if self.temperature == 0:
            return (u > 0.5).to(u.dtype)
        # Not torch.sigmoid: its bits depend on the position of an element within a vector.
        return 1.0 / (1.0 + torch.exp((0.5 - u) / self.temperature))

    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        return self._draw(u, draws) if self.sample_at == "every_step" else u

    def answer(self, thought: Tensor, draws: Draws) -> Tensor:
        return thought if self.sample_at == "every_step" else self._draw(thought, draws)

    def _draw(self, u: Tensor, draws: Draws) -> Tensor:
        return (draws.uniform() < self.probability(u)).to(u.dtype)

    def encode(self, steps: int) -> EncodedRule:
        none, every_step = torch.zeros(1, dtype=torch.float64), self.sample_at == "every_step"
        if self.temperature is None:
            return EncodedRule("clip", none, every_step=every_step)
        if self.temperature == 0:
            return EncodedRule("threshold", none, every_step=every_step)
        return EncodedRule("sigmoid", none, self.temperature, every_step)

    def greedy(self) -> BernoulliSampling:
        """The same rule without randomness: every draw becomes its more probable value."""
        return BernoulliSampling("sigmoid", 0.0, self.sample_at)


def decoded(rule: EncodedRule) -> Rule:
    """The rule that encodes to this: what the reference makes of the operator's arguments."""
    if rule.kind == "gaussian":
        schedule = rule.schedule.tolist()
        return GaussianNoise(schedule[0] if len(schedule) == 1 else schedule)
    sample_at: Literal["every_step", "last_step"] = "every_step" if rule.every_step else "last_step"
    if rule.kind == "clip":
        return BernoulliSampling("clip", None, sample_at)
    return BernoulliSampling("sigmoid", 0.0 if rule.kind == "threshold" else rule.temperature, sample_at)
