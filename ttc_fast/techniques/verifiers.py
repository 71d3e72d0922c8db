"""Verifiers: scores of candidate answers, higher is better, from a perfect judge to a misled one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..numerics import check, rng, sums
from ..tasks import metrics
from ..tasks.prompts import Prompts

INVERSE_TEMPERATURE = 10.0
"""Default beta of weights exp(beta score): a loss that is higher by 0.1 costs a factor e."""


class Verifier(Protocol):
    """What scores candidates."""

    def __call__(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        """Scores ``[B, A]`` of candidates ``[B, A, d]``.

        Args:
            prompts: the candidates' prompts.
            w: the candidates.
            first_sample: global index of the first candidate; a verifier's noise is named by it.
            step: of the chain that the candidates come from.
        """

    def work(self, prompts: Prompts) -> int:
        """Multiplications that one score costs; a thought costs d^2 of them."""


def context(verifier: Verifier, prompts: Prompts) -> Prompts:
    """What a chain may see of the prompts: all but the examples that the verifier holds out."""
    while isinstance(verifier, NoisyVerifier):
        verifier = verifier.verifier
    return verifier.context(prompts) if isinstance(verifier, HeldOutLoss) else prompts


@dataclass(frozen=True)
class InContextLoss:
    """Minus the loss on the prompt's own examples, sum_i (y_i - <w, x_i>)^2 / (2n)."""

    def __call__(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return metrics.in_context_score(prompts, w)

    def work(self, prompts: Prompts) -> int:
        return prompts.x.shape[1] * (prompts.x.shape[2] + 1)


@dataclass(frozen=True)
class HeldOutLoss:
    """Minus the loss on the last ``examples`` of a prompt; decode from :meth:`context`, which lacks them."""

    examples: int

    def __post_init__(self) -> None:
        check.integer("examples", self.examples, 1, 2**34)

    def context(self, prompts: Prompts) -> Prompts:
        """The prompts without the held-out examples."""
        kept = prompts.x.shape[1] - self.examples
        if kept < 1:
            raise ValueError(f"examples: expected fewer than the prompt's {prompts.x.shape[1]}, got {self.examples}")
        return replace(prompts, x=prompts.x[:, :kept], y=prompts.y[:, :kept])

    def __call__(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        self.context(prompts)  # complains if there are too few examples
        held_out = replace(prompts, x=prompts.x[:, -self.examples :], y=prompts.y[:, -self.examples :])
        return InContextLoss()(held_out, w)

    def work(self, prompts: Prompts) -> int:
        return self.examples * (prompts.x.shape[2] + 1)


@dataclass(frozen=True)
class Oracle:
    """Minus the squared error |w - w*|^2 / d: a perfect judge."""

    def __call__(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return -metrics.measure(prompts, w, ("squared_error",), bits=False)["squared_error"]

    def work(self, prompts: Prompts) -> int:
        return prompts.x.shape[2]


@dataclass(frozen=True, eq=False)
class WrongVerifier:
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
            check.number("w_r", self.w_r, low=0.0)
        check.integer("seed", self.seed, 0, 2**64 - 1)

    def aim(self, prompts: Prompts) -> Tensor:
        """w_R of ``prompts``: ``[B, d]``. A drawn one is made on the CPU in float64 and rounded once."""
        count, dim = len(prompts), prompts.x.shape[2]
        if isinstance(self.w_r, Tensor):
            aim = self.w_r if self.w_r.ndim == 1 else self.w_r[prompts.first : prompts.first + count]
            if aim.shape not in ((dim,), (count, dim)):
                raise ValueError(f"w_r: expected shape [d] or [P, d] for d = {dim}, got {list(self.w_r.shape)}")
            return aim.to(prompts.x).expand(count, -1)
        prompt = torch.arange(prompts.first, prompts.first + count)[:, None]
        words = rng.philox(rng.counter(rng.Stream.AIM, prompt=prompt, coordinate=torch.arange(dim)), self.seed)
        away = self.w_r * rng.normals(words, torch.float64)[0]
        return (metrics.truth(prompts)[:, 0].cpu().double() + away).to(prompts.x)

    def __call__(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        labels = sums.tree_sum(prompts.x * self.aim(prompts)[:, None], 2)
        return InContextLoss()(replace(prompts, y=labels), w)

    def work(self, prompts: Prompts) -> int:
        return InContextLoss().work(prompts)


@dataclass(frozen=True)
class NoisyVerifier:
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
        check.number("noise", self.noise, low=0.0)
        check.number("bias", self.bias)
        check.number("false_positive_rate", self.false_positive_rate, 0.0, 1.0)
        check.integer("seed", self.seed, 0, 2**64 - 1)

    def __call__(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        scores = self.verifier(prompts, w, first_sample=first_sample, step=step)
        prompt = torch.arange(prompts.first, prompts.first + len(prompts), device=w.device)[:, None]
        sample = torch.arange(first_sample, first_sample + w.shape[1], device=w.device)
        words = rng.philox(rng.counter(rng.Stream.VERIFIER, prompt=prompt, sample=sample, block=step), self.seed)
        fooled = rng.uniform(words[2], w.dtype) < self.false_positive_rate
        return torch.where(fooled, 0.0, scores) + self.bias + self.noise * rng.normals(words, w.dtype)[0]

    def work(self, prompts: Prompts) -> int:
        return self.verifier.work(prompts)


@dataclass(frozen=True)
class ProcessReward:
    """Scores of whole chains from a verifier's scores of their intermediate thoughts.

    Args:
        verifier: scores each thought.
        reduce: ``"last"``, ``"min"``, ``"mean"`` or ``"sum"`` over the thoughts (the first two: Lightman
            et al., arXiv 2305.20050; Snell et al., arXiv 2408.03314).
    """

    verifier: Verifier = field(default_factory=InContextLoss)
    reduce: Literal["last", "min", "mean", "sum"] = "last"

    def __post_init__(self) -> None:
        check.choice("reduce", self.reduce, ("last", "min", "mean", "sum"))

    def __call__(self, prompts: Prompts, thoughts: Tensor, steps: tuple[int, ...], *, first_sample: int = 0) -> Tensor:
        """Scores ``[B, N]`` of chains ``[len(steps), B, N, d]``, as :func:`ttc_fast.decode` returns them."""
        scores = torch.stack(
            [self.verifier(prompts, w, first_sample=first_sample, step=t) for w, t in zip(thoughts, steps)]
        )
        if self.reduce == "last":
            return scores[-1]
        return scores.amin(0) if self.reduce == "min" else scores.sum(0) / (len(steps) if self.reduce == "mean" else 1)

    def work(self, prompts: Prompts) -> int:
        """Of one thought's score."""
        return self.verifier.work(prompts)
