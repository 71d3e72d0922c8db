"""Verifiers: scores of candidate answers, higher is better, from a perfect judge to a misled one."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from ..numerics import check, rng, sums
from ..numerics.protocols import complete
from ..tasks import metrics
from ..tasks.prompts import Prompts
from ..tasks.quadratic import Quadratic, QuadraticScore, quadratic

INVERSE_TEMPERATURE = 10.0
"""Default beta of weights exp(beta score): a loss that is higher by 0.1 costs a factor e."""


class Verifier(Protocol):
    """What scores candidates. A user's own needs :meth:`score` alone; the rest has defaults. A function
    ``(prompts, w) -> scores`` will do, too.

    >>> import ttc_fast as tf
    >>> class Sparse:  # it prefers answers with small coefficients
    ...     def score(self, prompts, w, *, first_sample=0, step=0):
    ...         return -w.abs().sum(2)
    >>> prompts = tf.LinearRegression(4, 16).sample(3)
    >>> decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(4, examples=16), tf.GaussianNoise(0.1))
    >>> table = tf.evaluate(decoder, prompts, steps=4, samples=8, techniques=["best_of_n"], verifier=Sparse())
    >>> {key.samples for key in table.keys}
    {8, 1, 2, 4}
    """

    measured_as: str | None = None
    """The metric of :data:`ttc_fast.tasks.metrics.METRICS` that the score is, if it is one: then it is measured in the
    same pass as the others."""

    @property
    def deterministic(self) -> bool:
        """Whether the score depends on the prompt and the answer alone, not on noise or history. Default: yes."""
        return True

    @abstractmethod
    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        """Scores ``[B, A]`` of candidates ``[B, A, d]``, higher is better.

        Args:
            prompts: the candidates' prompts, with all their examples.
            w: the candidates.
            first_sample: global index of the first candidate; a verifier's noise is named by it.
            step: of the chain that the candidates come from.
        """

    def score_chain(self, prompts: Prompts, thoughts: Tensor, steps: Sequence[int], *, first_sample: int = 0) -> Tensor:
        """Scores ``[B, N]`` of the last thoughts of chains, given those before them. Default: :meth:`score`.

        Args:
            prompts: the chains' prompts, with all their examples.
            thoughts: ``[len(steps), B, N, d]``.
            steps: of the thoughts, ascending.
            first_sample: global index of the first chain.
        """
        return self.score(prompts, thoughts[-1], first_sample=first_sample, step=steps[-1])

    def context(self, prompts: Prompts) -> Prompts:
        """What a chain may see of the prompts: all but what the verifier holds out. Default: everything."""
        return prompts

    def as_quadratic(self, prompts: Prompts) -> QuadraticScore | None:
        """The score as a quadratic form of the candidate, for the exact laws; None (the default): it is none."""
        return None

    def work(self, prompts: Prompts) -> int:
        """Multiplications that one score costs; a thought costs d^2 of them. Default: those of the in-context loss."""
        return prompts.x.shape[1] * (prompts.x.shape[2] + 1)


ScoreFunction: TypeAlias = Callable[[Prompts, Tensor], Tensor]


@dataclass(frozen=True)
class FunctionVerifier(Verifier):
    """A function of prompts and candidates ``[B, A, d]`` as a verifier."""

    function: ScoreFunction

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return self.function(prompts, w)


def as_verifier(verifier: Verifier | ScoreFunction | None) -> Verifier:
    """``verifier`` with all methods of the protocol; None is the in-context loss.

    Raises:
        TypeError: it is neither a verifier nor a function.
    """
    if verifier is None:
        return InContextLoss()
    if callable(verifier) and not hasattr(verifier, "score"):
        verifier = FunctionVerifier(verifier)
    return complete(verifier, Verifier, "verifier")


def check_scores(score: object, w: Tensor) -> None:
    """Nothing, if what a verifier said of candidates is ``[B, N]``.

    Args:
        score: what it said.
        w: the candidates ``[B, N, d]``.

    Raises:
        TypeError, ValueError: it is not.
    """
    wanted = f"verifier: expected scores [B, N] = {list(w.shape[:2])}"
    if not isinstance(score, Tensor):
        raise TypeError(f"{wanted}, got {type(score).__name__}")
    if score.shape != w.shape[:2]:
        raise ValueError(f"{wanted}, got {list(score.shape)}")


@dataclass(frozen=True)
class InContextLoss(Verifier):
    """Minus the loss on the prompt's own examples, sum_i (y_i - <w, x_i>)^2 / (2n)."""

    measured_as = "in_context_score"

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return metrics.in_context_score(prompts, w)

    def as_quadratic(self, prompts: Prompts) -> QuadraticScore:
        return QuadraticScore(quadratic(prompts, "in_context_loss"))


@dataclass(frozen=True)
class HeldOutLoss(Verifier):
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

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return InContextLoss().score(self._held_out(prompts), w)

    def _held_out(self, prompts: Prompts) -> Prompts:
        self.context(prompts)  # complains if there are too few examples
        return replace(prompts, x=prompts.x[:, -self.examples :], y=prompts.y[:, -self.examples :])

    def as_quadratic(self, prompts: Prompts) -> QuadraticScore:
        return QuadraticScore(quadratic(self._held_out(prompts), "in_context_loss"))

    def work(self, prompts: Prompts) -> int:
        return self.examples * (prompts.x.shape[2] + 1)


@dataclass(frozen=True)
class Oracle(Verifier):
    """Minus the squared error |w - w*|^2 / d: a perfect judge."""

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return -metrics.measure(prompts, w, ("squared_error",), bits=False)["squared_error"]

    def as_quadratic(self, prompts: Prompts) -> QuadraticScore:
        return QuadraticScore(quadratic(prompts, "squared_error"))

    def work(self, prompts: Prompts) -> int:
        return prompts.x.shape[2]


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
        check.number("noise", self.noise, low=0.0)
        check.number("bias", self.bias)
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
        return None if exact is None else QuadraticScore(exact.form, math.hypot(exact.noise, self.noise))

    def work(self, prompts: Prompts) -> int:
        return self._inner.work(prompts)


@dataclass(frozen=True)
class ProcessReward(Verifier):
    """Scores of whole chains from a verifier's scores of their thoughts.

    As the verifier of :func:`ttc_fast.evaluate` it reduces over the asked steps up to that of the answer; a search,
    which scores thoughts while it makes them, uses the scores of the thoughts themselves.

    Args:
        verifier: scores each thought.
        reduce: ``"last"``, ``"min"``, ``"mean"`` or ``"sum"`` over the thoughts (the first two: Lightman
            et al., arXiv 2305.20050; Snell et al., arXiv 2408.03314).
    """

    verifier: Verifier = field(default_factory=InContextLoss)
    reduce: Literal["last", "min", "mean", "sum"] = "last"

    def __post_init__(self) -> None:
        check.choice("reduce", self.reduce, ("last", "min", "mean", "sum"))

    @property
    def deterministic(self) -> bool:
        return self.reduce == "last" and self._inner.deterministic

    @property
    def _inner(self) -> Verifier:
        return as_verifier(self.verifier)

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return self._inner.score(prompts, w, first_sample=first_sample, step=step)

    def score_chain(self, prompts: Prompts, thoughts: Tensor, steps: Sequence[int], *, first_sample: int = 0) -> Tensor:
        each = [self.score(prompts, w, first_sample=first_sample, step=t) for w, t in zip(thoughts, steps)]
        if self.reduce == "last":
            return each[-1]
        scores = torch.stack(each)
        return scores.amin(0) if self.reduce == "min" else scores.sum(0) / (len(steps) if self.reduce == "mean" else 1)

    def context(self, prompts: Prompts) -> Prompts:
        return self._inner.context(prompts)

    def as_quadratic(self, prompts: Prompts) -> QuadraticScore | None:
        return self._inner.as_quadratic(prompts) if self.reduce == "last" else None

    def work(self, prompts: Prompts) -> int:
        """Of one thought's score."""
        return self._inner.work(prompts)
