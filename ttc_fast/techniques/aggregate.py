"""Techniques that make one answer of N samples: means, votes, selections.

Each is a function from :class:`Candidates`, G groups of k candidates of each of B prompts, to one answer for each
group, ``[B, G, d]``; its error at budget k is the mean over groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..numerics import check, sums
from .base import Candidates, NativeAnswer, Technique, technique
from .identities import identities, mixed
from .verifiers import INVERSE_TEMPERATURE


@technique(
    "noise-free decode",
    "Huang, Wang, Lee, arXiv 2502.21212",
    uses_budget=False,
    closed_form=lambda bank, budgets: bank.of_greedy(),
)
def greedy(candidates: Candidates) -> Tensor:
    """The noise-free decode."""
    return candidates.greedy[:, None]


@technique(
    "one sample",
    "Chen et al., arXiv 2508.07571",
    uses_budget=False,
    closed_form=lambda bank, budgets: bank.of_one(),
)
def single(candidates: Candidates) -> Tensor:
    """One sample; every candidate is such an answer."""
    return candidates.coefficients.flatten(1, 2)


@technique("mean of the samples", "classical", closed_form=lambda bank, budgets: bank.of_mean(budgets))
def mean(candidates: Candidates) -> Tensor:
    """The mean of the candidates."""
    return sums.tree_mean(candidates.coefficients, 2)


@technique("median per coefficient", "classical", closed_form=lambda bank, budgets: bank.of_median(budgets))
def median(candidates: Candidates) -> Tensor:
    """The median of each coefficient; of an even number of candidates, the mean of the middle two."""
    order = candidates.coefficients.sort(2).values
    k = order.shape[2]
    return (order[:, :, (k - 1) // 2] + order[:, :, k // 2]) / 2


@technique("least sum of distances", "Weiszfeld, Tohoku Mathematical Journal 43, 1937")
def geometric_median(candidates: Candidates) -> Tensor:
    """The point with the least sum of distances to the candidates, by 64 of Weiszfeld's iterations from the mean."""
    w = candidates.coefficients
    tiny = torch.finfo(w.dtype).tiny
    centre = sums.tree_mean(w, 2)
    for _ in range(64):
        distance = sums.tree_sum((w - centre[:, :, None]).square_(), 3).sqrt_()
        pull = 1 / distance.clamp_min_(tiny**0.5)
        pull = pull / sums.tree_sum(pull, 2)[:, :, None]
        centre = sums.tree_sum(w * pull[..., None], 2)
    return centre


@technique(
    "majority per coefficient",
    "classical (Condorcet, 1785)",
    binary_only=True,
    closed_form=lambda bank, budgets: bank.of_majority(budgets),
)
def majority_vote(candidates: Candidates) -> Tensor:
    """Each coefficient by majority; a tie by a fair coin, which does not depend on the order of the votes."""
    votes = candidates.coefficients.shape[2]
    return _above_half(2 * sums.tree_sum(candidates.coefficients, 2), votes, candidates)  # whole numbers: exact


@dataclass(frozen=True)
class _MajorityOfBest:
    share: float

    def __call__(self, candidates: Candidates) -> Tensor:
        kept = max(1, math.ceil(self.share * candidates.score.shape[2]))
        best = torch.sort(candidates.score, stable=True, dim=2, descending=True).indices[:, :, :kept]
        return majority_vote(replace(candidates, coefficients=_take(candidates.coefficients, best)))


def majority_of_best(share: float = 0.25) -> Technique:
    """Each coefficient by majority among the best ``share`` of the candidates (at least one)."""
    check.number("share", share, 0.0, 1.0)
    return Technique(
        _named("majority_of_best", share, 0.25),
        _MajorityOfBest(share),
        about="majority among the best quarter",
        source="Cobbe et al., arXiv 2110.14168",
        binary_only=True,
        uses_score=True,
        native=NativeAnswer("majority_of_best", share),
    )


@dataclass(frozen=True)
class _WeightedVote:
    beta: float

    def __call__(self, candidates: Candidates) -> Tensor:
        weighted = sums.tree_sum(candidates.coefficients * _weights(candidates, self.beta)[..., None], 2)
        return _above_half(2 * weighted, 1.0, candidates)


def weighted_vote(beta: float = INVERSE_TEMPERATURE) -> Technique:
    """Each coefficient by a vote with weights exp(beta score)."""
    return Technique(
        _named("weighted_vote", beta, INVERSE_TEMPERATURE),
        _WeightedVote(beta),
        about="vote per coefficient, weights exp(beta score)",
        source="Li et al., arXiv 2206.02336",
        binary_only=True,
        uses_score=True,
        native=NativeAnswer("weighted_vote", beta),
    )


@dataclass(frozen=True)
class _SoftmaxMean:
    beta: float

    def __call__(self, candidates: Candidates) -> Tensor:
        return sums.tree_sum(candidates.coefficients * _weights(candidates, self.beta)[..., None], 2)


def softmax_mean(beta: float = INVERSE_TEMPERATURE) -> Technique:
    """The mean of the candidates with weights exp(beta score)."""
    return Technique(
        _named("softmax_mean", beta, INVERSE_TEMPERATURE),
        _SoftmaxMean(beta),
        about="mean with weights exp(beta score)",
        source="arXiv 2512.19905",
        uses_score=True,
        native=NativeAnswer("softmax_mean", beta),
    )


@technique(
    "most frequent whole answer (self-consistency)",
    "Wang et al., arXiv 2203.11171",
    binary_only=True,
    native=NativeAnswer("plurality"),
    most_frequent="drawn",
)
def plurality(candidates: Candidates) -> Tensor:
    """The most frequent whole answer; a tie by a fair draw, which does not depend on the order of the votes."""
    return _most(candidates, torch.ones_like(candidates.score))


@technique(
    "most frequent whole answer, of equally frequent ones the smallest",
    "Chen et al., arXiv 2508.07571",
    binary_only=True,
    most_frequent="smallest",
)
def plurality_smallest(candidates: Candidates) -> Tensor:
    """The most frequent whole answer, of equally frequent ones the smallest as a binary number, the first coefficient
    its lowest digit; for up to 62 coefficients."""
    return _most(candidates, torch.ones_like(candidates.score), smallest=True)


@dataclass(frozen=True)
class _WeightedBestOfN:
    beta: float

    def __call__(self, candidates: Candidates) -> Tensor:
        return _most(candidates, _weights(candidates, self.beta))


def weighted_best_of_n(beta: float = INVERSE_TEMPERATURE) -> Technique:
    """The whole answer with the largest sum of weights exp(beta score) over the candidates that give it."""
    return Technique(
        _named("weighted_best_of_n", beta, INVERSE_TEMPERATURE),
        _WeightedBestOfN(beta),
        about="whole answer with the most weight",
        source="Li et al., arXiv 2206.02336",
        binary_only=True,
        uses_score=True,
        native=NativeAnswer("weighted_best_of_n", beta),
    )


@technique(
    "highest score of the verifier",
    "Cobbe et al., arXiv 2110.14168",
    uses_score=True,
    closed_form=lambda bank, budgets: bank.of_best("score", budgets),
)
def best_of_n(candidates: Candidates) -> Tensor:
    """The candidate with the highest score (with the in-context loss, equal thoughts have equal scores)."""
    return _take(candidates.coefficients, candidates.score.argmax(2, keepdim=True)).squeeze(2)


@technique(
    "nearest to w*",
    "pass@k, Chen et al., arXiv 2107.03374",
    needs_truth=True,
    closed_form=lambda bank, budgets: bank.of_best("error", budgets),
)
def oracle_best_of_n(candidates: Candidates) -> Tensor:
    """The candidate nearest to w*: what a perfect verifier would reach."""
    if candidates.error is None:
        raise ValueError("error: expected squared errors, got candidates of prompts without w_star")
    return _take(candidates.coefficients, candidates.error.argmin(2, keepdim=True)).squeeze(2)


@dataclass(frozen=True)
class _FirstAccepted:
    threshold: float

    def __call__(self, candidates: Candidates) -> Tensor:
        accepted = candidates.score >= self.threshold
        first = torch.where(accepted.any(2), accepted.to(torch.uint8).argmax(2), candidates.score.argmax(2))
        return _take(candidates.coefficients, first[:, :, None]).squeeze(2)


def first_accepted(threshold: float) -> Technique:
    """The first candidate whose score is at least ``threshold``; if there is none, the best."""
    check.number("threshold", threshold)
    return Technique(
        f"first_accepted({threshold:g})",
        _FirstAccepted(threshold),
        about="first candidate whose score reaches a threshold",
        source="von Neumann, 1951",
        uses_score=True,
    )


def _named(name: str, parameter: float, default: float) -> str:
    """The name, with the parameter where it is not the default."""
    return name if parameter == default else f"{name}({parameter:g})"


def _take(coefficients: Tensor, index: Tensor) -> Tensor:
    """Candidates ``index [B, G, m]`` of every group: ``[B, G, m, d]``."""
    return coefficients.gather(2, index[..., None].expand(*index.shape, coefficients.shape[3]))


def _above_half(doubled: Tensor, votes: float, candidates: Candidates) -> Tensor:
    """1 where twice the ones are more than the votes, 0 where fewer, a coin where equal."""
    answer, tied = (doubled > votes).to(doubled.dtype), doubled == votes
    answer[tied] = (candidates.coins(tied) >> 31).to(answer.dtype)
    return answer


def _weights(candidates: Candidates, beta: float) -> Tensor:
    """exp(beta score), summing to 1 in every group: ``[B, G, k]``."""
    exponent = beta * candidates.score
    weights = torch.exp(exponent - exponent.amax(2, keepdim=True))
    return weights / sums.tree_sum(weights, 2)[..., None]


def _most(candidates: Candidates, weights: Tensor, *, smallest: bool = False) -> Tensor:
    """The whole answer with the largest sum of weights ``[B, G, k]``; of equal ones the smallest identity, or by a fair
    draw."""
    identity, order = torch.sort(identities(candidates.coefficients, ordered=smallest), stable=True, dim=2)
    run = torch.zeros_like(identity)
    run[:, :, 1:] = (identity[:, :, 1:] != identity[:, :, :-1]).cumsum(2)
    # Within a run the weights are sorted, so that their sum does not depend on the order of the candidates.
    weights, inner = torch.sort(weights.gather(2, order), stable=True, dim=2)
    total = torch.zeros_like(weights).scatter_add_(2, run.gather(2, inner), weights)
    total = total.gather(2, run)
    tied = total == total.amax(2, keepdim=True)
    if smallest:  # they are sorted
        return _take(candidates.coefficients, order.gather(2, tied.to(torch.uint8).argmax(2, keepdim=True))).squeeze(2)
    first = torch.zeros_like(candidates.coefficients[:, :, 0], dtype=torch.bool)
    first[:, :, 0] = True
    key = mixed(identity ^ candidates.coins(first).reshape(*identity.shape[:2], 1))
    winner = key.masked_fill(~tied, torch.iinfo(key.dtype).min).argmax(2, keepdim=True)
    return _take(candidates.coefficients, order.gather(2, winner)).squeeze(2)
