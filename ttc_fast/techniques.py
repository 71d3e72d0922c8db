"""Inference techniques: many candidates in, one answer out.

A technique is a function from :class:`Candidates`, G disjoint groups of k candidates of each of B
prompts, to answers ``[B, A, d]``; its error at budget k is the mean over the A answers. To add one,
write the function and enter it in :data:`TECHNIQUES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from torch import Tensor

from . import ordered
from .tasks import Prompts


class Candidates(NamedTuple):
    """Groups of candidate answers; each group is one budget of samples."""

    coefficients: Tensor
    """``[B, G, k, d]``."""
    loss: Tensor
    """In-context loss ``[B, G, k]``: what a verifier can see."""
    error: Tensor | None
    """Squared error ``[B, G, k]``: what only a judge who knows w* can see; None without w*."""
    greedy: Tensor
    """The noise-free decode ``[B, d]``."""
    coins: Callable[[Tensor], Tensor]
    """Fair coins in {0, 1}, one for each True of a mask ``[B, G, d]``."""


class Technique(NamedTuple):
    """A technique with what it is for."""

    answer: Callable[[Candidates], Tensor]
    about: str
    uses_budget: bool = True
    """False: the answer spends one decode, however many the budget allows."""
    binary_only: bool = False
    needs_truth: bool = False


def greedy(candidates: Candidates) -> Tensor:
    """The noise-free decode."""
    return candidates.greedy[:, None]


def single(candidates: Candidates) -> Tensor:
    """One sample; every candidate is such an answer."""
    return candidates.coefficients.flatten(1, 2)


def mean(candidates: Candidates) -> Tensor:
    """The mean of the candidates."""
    return ordered.tree_mean(candidates.coefficients, 2)


def majority_vote(candidates: Candidates) -> Tensor:
    """Each coefficient by majority; a tie by a fair coin, which does not depend on the order of the votes."""
    votes = candidates.coefficients.shape[2]
    doubled = 2 * ordered.tree_sum(candidates.coefficients, 2)  # whole numbers: exact
    answer, tied = (doubled > votes).to(doubled.dtype), doubled == votes
    answer[tied] = candidates.coins(tied).to(answer.dtype)
    return answer


def best_of_n(candidates: Candidates) -> Tensor:
    """The candidate with the lowest in-context loss (equal thoughts have equal losses)."""
    return _select(candidates.coefficients, candidates.loss)


def oracle_best_of_n(candidates: Candidates) -> Tensor:
    """The candidate nearest to w*: what a perfect verifier would reach."""
    if candidates.error is None:
        raise ValueError("error: expected squared errors, got candidates of prompts without w_star")
    return _select(candidates.coefficients, candidates.error)


def _select(coefficients: Tensor, score: Tensor) -> Tensor:
    best = score.argmin(2)[:, :, None, None].expand(-1, -1, 1, coefficients.shape[3])
    return coefficients.gather(2, best).squeeze(2)


TECHNIQUES: dict[str, Technique] = {
    "greedy": Technique(greedy, "noise-free decode", uses_budget=False),
    "single": Technique(single, "one sample", uses_budget=False),
    "mean": Technique(mean, "mean of the samples"),
    "majority_vote": Technique(majority_vote, "majority per coefficient", binary_only=True),
    "best_of_n": Technique(best_of_n, "lowest in-context loss"),
    "oracle_best_of_n": Technique(oracle_best_of_n, "nearest to w*", needs_truth=True),
}


Metric: TypeAlias = Callable[[Prompts, Tensor], Tensor]
"""From answers ``[B, A, d]`` to a figure for each, ``[B, A]``."""


def in_context_loss(prompts: Prompts, w: Tensor) -> Tensor:
    """Loss of coefficients ``[B, A, d]`` on their own prompts, sum_i (y_i - <w, x_i>)^2 / (2n): ``[B, A]``."""
    residual = prompts.y[:, :, None] - ordered.matmul(prompts.x, w.mT.contiguous())
    return ordered.tree_mean(residual.square_(), 1) / 2


def squared_error(prompts: Prompts, w: Tensor) -> Tensor:
    """|w - w*|^2 / d of coefficients ``[B, A, d]``: ``[B, A]``. Needs w*."""
    return ordered.tree_mean((w - truth(prompts)).square_(), 2)


def prediction_risk(prompts: Prompts, w: Tensor) -> Tensor:
    """E_x (<w, x> - <w*, x>)^2 = (w - w*)^T Lambda (w - w*) of coefficients ``[B, A, d]``: ``[B, A]``. Needs w*."""
    difference = w - truth(prompts)
    if prompts.covariance.ndim == 1:
        return ordered.tree_sum(difference.square_() * prompts.covariance, 2)
    return ordered.tree_sum(difference * ordered.matmul(difference, prompts.covariance), 2)


def hamming(prompts: Prompts, w: Tensor) -> Tensor:
    """Share of wrong coefficients of ``[B, A, d]``, each read as 1 iff above 1/2 and as half wrong at 1/2:
    ``[B, A]``. Needs a binary w*."""
    return 1.0 - ordered.tree_mean(_right(prompts, w), 2)


def exact_recovery(prompts: Prompts, w: Tensor) -> Tensor:
    """Probability that all coefficients of ``[B, A, d]`` are right, read as in :func:`hamming`, with
    those at 1/2 decided by fair coins: ``[B, A]``. Needs a binary w*."""
    return _right(prompts, w).prod(2)


def disagreement(w: Tensor) -> Tensor:
    """How far the A >= 2 answers ``[B, A, d]`` of a prompt are from each other: ``[B, A]``, whose mean over
    A is the mean over pairs of |w_a - w_b|^2 / d; for binary answers, the share of coefficients on which
    two answers differ. Needs no w*."""
    answers = w.shape[1]
    deviation = w - ordered.tree_mean(w, 1)[:, None]
    return ordered.tree_mean(deviation.square_(), 2) * (2 * answers / (answers - 1))


def _right(prompts: Prompts, w: Tensor) -> Tensor:
    """1 where a coefficient is right, 0 where it is wrong, 1/2 where it is 1/2."""
    return 1.0 - ((w - 0.5).sign_().mul_(0.5).add_(0.5) - truth(prompts)).abs_()


def truth(prompts: Prompts) -> Tensor:
    """w* as ``[B, 1, d]``."""
    if prompts.w_star is None:
        raise ValueError("w_star: expected the true coefficients, got prompts without them")
    return prompts.w_star[:, None]
