"""Verifiers with faults, as dials: an aim that is wrong, and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..numerics import check, rng, sums
from ..tasks import metrics
from ..tasks.prompts import Prompts, check_prompts
from ..tasks.quadratic import Quadratic, QuadraticScore, quadratic
from .verifiers import InContextLoss, Oracle, Verifier, as_verifier


@dataclass(frozen=True, eq=False)
class WrongVerifier(Verifier):
    """Minus the in-context loss with labels <w_r, x_i>: it rewards answers near its own w_R, so that more
    samples serve a wrong aim (reward hacking).

    Args:
        w_r: w_R ``[d]``, or one for each prompt, by its global index ``[P, d]``; a number S stands for
            w* + S xi, xi ~ N(0, I), drawn for each prompt.
        seed: of xi.
    """

    w_r: Tensor | float
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.w_r, Tensor):
            object.__setattr__(self, "w_r", check.scale("w_r", self.w_r))
        elif self.w_r.ndim == 1:
            check.finite("w_r", check.tensor("w_r", self.w_r, ("d",)))
        else:
            check.finite("w_r", check.tensor("w_r", self.w_r, ("P", "d")))
        check.integer("seed", self.seed, 0, 2**64 - 1)

    def aim(self, prompts: Prompts) -> Tensor:
        """w_R of ``prompts``: ``[B, d]``. A drawn one is made on the CPU in float64 and rounded once."""
        check_prompts(prompts)
        count, dim = len(prompts), prompts.x.shape[2]
        if isinstance(self.w_r, Tensor):
            aim = self.w_r if self.w_r.ndim == 1 else self.w_r[prompts.first : prompts.first + count]
            if aim.shape not in ((dim,), (count, dim)):
                raise ValueError(f"w_r: expected shape [d] or [P, d] for d = {dim}, got {list(self.w_r.shape)}")
            return aim.detach().to(prompts.x).expand(count, -1)
        prompt = torch.arange(prompts.first, prompts.first + count)[:, None]
        words = rng.philox(rng.counter(rng.Stream.AIM, prompt=prompt, coordinate=torch.arange(dim)), self.seed)
        away = self.w_r * rng.normals(words, torch.float64)[0]
        return (metrics.truth(prompts)[:, 0].cpu().double() + away).to(prompts.x)

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        labels = sums.tree_sum(prompts.x * self.aim(prompts)[:, None], 2)
        return InContextLoss().score(replace(prompts, y=labels), w)

    def as_quadratic(self, prompts: Prompts) -> QuadraticScore:
        loss = quadratic(prompts, "in_context_loss")
        aim = self.aim(prompts).cpu().double()
        return QuadraticScore(Quadratic(loss.matrix, aim, torch.zeros_like(loss.constant)))


@dataclass(frozen=True)
class NoisyVerifier(Verifier):
    """Another verifier with faults: a dial from it (all zero) to a coin (much noise).

    Args:
        verifier: what it should say.
        noise: standard deviation of the Gaussian noise added to every score.
        bias: added to every score; it matters only where scores meet a threshold.
        false_positive_rate: probability that a candidate gets the highest score 0 whatever it is worth.
        seed: of the noise, which belongs to a prompt's sample at a step and to nothing else.
    """

    verifier: Verifier = field(default_factory=Oracle)
    noise: float = 0.0
    bias: float = 0.0
    false_positive_rate: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        as_verifier(self.verifier)
        check.scale("noise", self.noise)
        check.scale("bias", abs(check.number("bias", self.bias)))
        check.number("false_positive_rate", self.false_positive_rate, 0.0, 1.0)
        check.integer("seed", self.seed, 0, 2**64 - 1)

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        scores = self._inner.score(prompts, w, first_sample=first_sample, step=step)
        prompt = torch.arange(prompts.first, prompts.first + len(prompts), device=w.device)[:, None]
        sample = torch.arange(first_sample, first_sample + w.shape[1], device=w.device)
        words = rng.philox(rng.counter(rng.Stream.VERIFIER, prompt=prompt, sample=sample, block=step), self.seed)
        fooled = rng.uniform(words[2], w.dtype) < self.false_positive_rate
        return torch.where(fooled, 0.0, scores) + self.bias + self.noise * rng.normals(words, w.dtype)[0]

    @property
    def deterministic(self) -> bool:
        return self.noise == self.false_positive_rate == 0 and self._inner.deterministic

    @property
    def _inner(self) -> Verifier:
        return as_verifier(self.verifier)

    def context(self, prompts: Prompts) -> Prompts:
        return self._inner.context(prompts)

    def as_quadratic(self, prompts: Prompts) -> QuadraticScore | None:
        exact = None if self.false_positive_rate else self._inner.as_quadratic(prompts)
        if exact is None or (exact.order_only and self.noise):  # noise is added to the score, not to its order
            return None
        return exact._replace(noise=math.hypot(exact.noise, self.noise))

    def work(self, prompts: Prompts) -> int:
        return self._inner.work(prompts)
