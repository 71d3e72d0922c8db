"""Verifiers: scores of candidate answers, higher is better. The protocol, and those that say what they mean to say."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from ..numerics import check, sums
from ..numerics.protocols import complete, described
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
        """The score as a quadratic form of the candidate, for the exact laws; None (the default): it is none. They ask
        for the order of candidates alone."""
        return None

    def work(self, prompts: Prompts) -> int:
        """Multiplications that one score costs; a thought costs d^2 of them. Default: those of the in-context loss."""
        return prompts.x.shape[1] * (prompts.x.shape[2] + 1)


ScoreFunction: TypeAlias = Callable[[Prompts, Tensor], Tensor]


@dataclass(frozen=True, repr=False)
class FunctionVerifier(Verifier):
    """A function of prompts and candidates ``[B, A, d]`` as a verifier."""

    function: ScoreFunction

    def __repr__(self) -> str:
        return f"FunctionVerifier({getattr(self.function, '__qualname__', None) or described(self.function)})"

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return self.function(prompts, w)


def as_verifier(verifier: Verifier | ScoreFunction | None) -> Verifier:
    """``verifier`` with all methods of the protocol; None is the in-context loss.

    Raises:
        TypeError: it is neither a verifier nor a function.
    """
    if verifier is None:
        return InContextLoss()
    scores = hasattr(verifier, "score")
    if (isinstance(verifier, type) and not scores) or (scores and not callable(getattr(verifier, "score"))):  # noqa: B009
        wanted = "a Verifier or a function of prompts and answers"
        raise TypeError(f"verifier: expected {wanted}, got {check.shown(verifier)}")
    if callable(verifier) and not scores:
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


def check_numbers(score: Tensor, w: Tensor) -> None:
    """Nothing, if a verifier gave a number to every candidate that did not overflow.

    Args:
        score: what it said ``[B, N]``.
        w: the candidates ``[B, N, d]``.

    Raises:
        ValueError: NaN of a finite candidate, which no technique could rank.
    """
    if not score.isnan().any():
        return
    lost = (score.isnan() & w.isfinite().all(2)).nonzero()
    if len(lost):
        prompt, sample = lost[0].tolist()
        raise ValueError(
            f"verifier: expected numbers as scores, got NaN of the finite candidate {sample} of prompt {prompt} of "
            "those at hand; give a bad one a low score, such as -1e30"
        )


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
        return prompts.with_examples(0, kept)

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return InContextLoss().score(self._held_out(prompts), w)

    def _held_out(self, prompts: Prompts) -> Prompts:
        self.context(prompts)  # complains if there are too few examples
        whole = prompts.x.shape[1]
        return prompts.with_examples(whole - self.examples, whole)

    def as_quadratic(self, prompts: Prompts) -> QuadraticScore:
        return QuadraticScore(quadratic(self._held_out(prompts), "in_context_loss"))

    def work(self, prompts: Prompts) -> int:
        return self.examples * (prompts.x.shape[2] + 1)


@dataclass(frozen=True)
class Oracle(Verifier):
    """Minus the squared error |w - w*|^2 / d: it knows the truth."""

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return -metrics.measure(prompts, w, ("squared_error",), bits=False)["squared_error"]

    def as_quadratic(self, prompts: Prompts) -> QuadraticScore:
        return QuadraticScore(quadratic(prompts, "squared_error"))

    def work(self, prompts: Prompts) -> int:
        return prompts.x.shape[2]


@dataclass(frozen=True)
class SmallestNorm(Verifier):
    """Minus the norm |w|_p: it prefers small answers, and needs no labels.

    Args:
        p: 1, or 2 for the Euclidean norm.
    """

    p: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        check.choice("p", self.p, (1, 2))

    def score(self, prompts: Prompts, w: Tensor, *, first_sample: int = 0, step: int = 0) -> Tensor:
        return -sums.tree_sum(w.abs(), 2) if self.p == 1 else -sums.tree_sum(w.square(), 2).sqrt()

    def as_quadratic(self, prompts: Prompts) -> QuadraticScore | None:
        """|w|^2, which orders candidates as |w|_2 does; the other norm is no quadratic."""
        if self.p == 1:
            return None
        count, _, dim = prompts.x.shape
        zeros = torch.zeros(count, dim + 1, dtype=torch.float64)
        square = Quadratic(torch.eye(dim, dtype=torch.float64).expand(count, -1, -1), zeros[:, :dim], zeros[:, dim])
        return QuadraticScore(square, order_only=True)

    def work(self, prompts: Prompts) -> int:
        return prompts.x.shape[2]


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
        as_verifier(self.verifier)

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
