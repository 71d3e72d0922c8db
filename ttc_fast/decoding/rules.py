"""Decoding rules: how the next thought is drawn, given the output u of the transformer.

A rule holds the parameters of a law; the backends hold the loop. :class:`Rule` is what a user's own rule must be.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from ..numerics import check
from ..numerics.protocols import complete, is_default
from .draws import Draws
from .gaussian_chain import affine, diverges
from .schedules import MOST_STEPS, NoiseSchedule, checked_schedule, encoded_schedule, scale_of_step

DEFAULT_TEMPERATURE: Final = 0.25

LEAST_TEMPERATURE: Final = 1e-30
"""Below it a temperature counts as this one, in all backends: the link is as steep, and float32 can hold it."""


class EncodedRule(NamedTuple):
    """A rule as the fused kernels take it."""

    kind: str
    """``"gaussian"``, ``"rank_one"``, ``"elementwise"``, ``"clip"``, ``"sigmoid"``, ``"threshold"``, ``"subset"`` or
    ``"largest"``."""
    schedule: Tensor
    """Noise scales, float64: one for every step ``[steps]``, or a single one for all of them ``[1]``."""
    temperature: float = 1.0
    """Of the sigmoid."""
    every_step: bool = True
    """False: the thoughts stay what the transformer says, and only an answer that is asked for is drawn."""
    ones: int = 0
    """Of a thought, where the rule fixes them."""

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
        """Whether an answer is the thought itself, so that it tells how its chain goes on; searches need that.
        Default: whether the rule leaves :meth:`answer` as it is."""
        return is_default(self.answer, Rule.answer)

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

    def ridge(self, steps: int) -> Tensor | None:
        """kappa_t if the mean of the chain is u(w) - kappa_t w, float64 ``[steps]`` or ``[1]``; None: it is not."""
        return None

    def diverges(self, state: Tensor) -> Tensor:
        """Prompts whose chain diverges in the long run, ``[B]`` bool: by default where that without noise does.

        Args:
            state: of linear attention, ``[B, d, d+1]``.
        """
        return diverges(affine(state)[0])

    def greedy(self) -> Rule:
        """The same rule without randomness."""
        return BernoulliSampling(temperature=0.0) if self.binary else GaussianNoise(0.0)


def check_rule(rule: object) -> Rule:
    """``rule`` with all methods of the protocol.

    Raises:
        TypeError: it lacks one, or what it has under the name is no function.
    """
    found = complete(rule, Rule, "rule")
    for name in ("thought", "answer", "encode", "greedy"):
        check.function(f"rule: {name}", getattr(found, name))
    return found


@dataclass(frozen=True)
class GaussianNoise(Rule):
    """Continuous coefficients: w_{t+1} = u(w_t) + sigma_t xi_t, xi_t ~ N(0, I).

    The additive rule of Chen et al.'s authors (design and sources: ``theory/multiplicative.py``), who do not divide
    sums by n, is sigma = eta s.

    Args:
        noise_scale: the standard deviation sigma_t, in units of w: one number for every step, a
            :class:`GeometricDecay`, a :class:`PowerLawDecay` or another object with ``scales(steps)``, or a
            sequence (or 1-D tensor) with one number per step. 0 is greedy decoding.
    """

    noise_scale: NoiseSchedule = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_scale", checked_schedule("noise_scale", self.noise_scale))

    def scales(self, steps: int) -> Tensor:
        """The schedule sigma_0, ..., sigma_{steps-1} as a float64 tensor [steps]."""
        return self.encode(check.integer("steps", steps, 0, MOST_STEPS)).scales(steps)

    def encode(self, steps: int) -> EncodedRule:
        return EncodedRule("gaussian", encoded_schedule("noise_scale", self.noise_scale, steps))

    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        return u + scale_of_step(self.noise_scale, draws.step) * draws.normal()

    def greedy(self) -> GaussianNoise:
        """The same rule without noise."""
        return GaussianNoise(0.0)


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
            object.__setattr__(self, "temperature", check.scale("temperature", temperature))
        elif self.temperature is not None:
            raise ValueError(
                f"temperature: expected none with link='clip', got {check.shown(self.temperature)}; leave it out, "
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
        return 1.0 / (1.0 + torch.exp((0.5 - u) / max(self.temperature, LEAST_TEMPERATURE)))

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
        return EncodedRule("sigmoid", none, max(self.temperature, LEAST_TEMPERATURE), every_step)

    def greedy(self) -> BernoulliSampling:
        """The same rule without randomness: every draw becomes its more probable value."""
        return BernoulliSampling("sigmoid", 0.0, self.sample_at)
