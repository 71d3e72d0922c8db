"""Inference techniques: many candidates in, one answer out.

A technique is a function from :class:`Candidates`, G groups of k candidates of each of B prompts, to one
answer for each group, ``[B, G, d]``; its error at budget k is the mean over groups. To add one, write the
function and enter it in :data:`TECHNIQUES`, beside those that act during the chain (``search.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..numerics import check, sums
from .search import BeamSearch, ParticleFilter, Search, SelfRefinement, StopEarly, VoteUntilDecided
from .verifiers import INVERSE_TEMPERATURE


class Candidates(NamedTuple):
    """Groups of candidate answers; each group is one budget of samples."""

    coefficients: Tensor
    """``[B, G, k, d]``."""
    score: Tensor
    """A verifier's scores ``[B, G, k]``, higher is better."""
    error: Tensor | None
    """Squared error ``[B, G, k]``: what only a judge who knows w* can see; None without w*."""
    greedy: Tensor
    """The noise-free decode ``[B, d]``."""
    coins: Callable[[Tensor], Tensor]
    """Random words in [0, 2^32) for ties, one for each True of a mask ``[B, G, d]``."""


class Technique(NamedTuple):
    """A technique with what it is for."""

    answer: Callable[[Candidates], Tensor]
    about: str
    source: str
    uses_budget: bool = True
    """False: the answer spends one decode, however many the budget allows."""
    binary_only: bool = False
    """It takes and gives bits."""
    needs_truth: bool = False
    uses_score: bool = False
    """It asks the verifier about every candidate."""
    selects: Literal["score", "error"] | None = None
    """The answer is the candidate with the highest score, or with the lowest error."""


def greedy(candidates: Candidates) -> Tensor:
    """The noise-free decode."""
    return candidates.greedy[:, None]


def single(candidates: Candidates) -> Tensor:
    """One sample; every candidate is such an answer."""
    return candidates.coefficients.flatten(1, 2)


def mean(candidates: Candidates) -> Tensor:
    """The mean of the candidates."""
    return sums.tree_mean(candidates.coefficients, 2)


def median(candidates: Candidates) -> Tensor:
    """The median of each coefficient; of an even number of candidates, the mean of the middle two."""
    order = candidates.coefficients.sort(2).values
    k = order.shape[2]
    return (order[:, :, (k - 1) // 2] + order[:, :, k // 2]) / 2


def geometric_median(candidates: Candidates, iterations: int = 64) -> Tensor:
    """The point with the least sum of distances to the candidates, by Weiszfeld's iteration from the mean."""
    w = candidates.coefficients
    tiny = torch.finfo(w.dtype).tiny
    centre = sums.tree_mean(w, 2)
    for _ in range(iterations):
        distance = sums.tree_sum((w - centre[:, :, None]).square_(), 3).sqrt_()
        pull = 1 / distance.clamp_min_(tiny**0.5)
        pull = pull / sums.tree_sum(pull, 2)[:, :, None]
        centre = sums.tree_sum(w * pull[..., None], 2)
    return centre


def majority_vote(candidates: Candidates) -> Tensor:
    """Each coefficient by majority; a tie by a fair coin, which does not depend on the order of the votes."""
    votes = candidates.coefficients.shape[2]
    return _above_half(2 * sums.tree_sum(candidates.coefficients, 2), votes, candidates)  # whole numbers: exact


@dataclass(frozen=True)
class MajorityOfBest:
    """Each coefficient by majority among the best ``share`` of the candidates (at least one)."""

    share: float = 0.25

    def __post_init__(self) -> None:
        check.number("share", self.share, 0.0, 1.0)

    def __call__(self, candidates: Candidates) -> Tensor:
        kept = max(1, math.ceil(self.share * candidates.score.shape[2]))
        best = torch.sort(candidates.score, stable=True, dim=2, descending=True).indices[:, :, :kept]
        return majority_vote(candidates._replace(coefficients=_take(candidates.coefficients, best)))


@dataclass(frozen=True)
class WeightedVote:
    """Each coefficient by a vote with weights exp(beta score)."""

    beta: float = INVERSE_TEMPERATURE

    def __call__(self, candidates: Candidates) -> Tensor:
        weighted = sums.tree_sum(candidates.coefficients * _weights(candidates, self.beta)[..., None], 2)
        return _above_half(2 * weighted, 1.0, candidates)


@dataclass(frozen=True)
class SoftmaxMean:
    """The mean of the candidates with weights exp(beta score)."""

    beta: float = INVERSE_TEMPERATURE

    def __call__(self, candidates: Candidates) -> Tensor:
        return sums.tree_sum(candidates.coefficients * _weights(candidates, self.beta)[..., None], 2)


def plurality(candidates: Candidates) -> Tensor:
    """The most frequent whole answer; a tie by a fair draw, which does not depend on the order of the votes."""
    return _most(candidates, torch.ones_like(candidates.score))


@dataclass(frozen=True)
class WeightedBestOfN:
    """The whole answer with the largest sum of weights exp(beta score) over the candidates that give it."""

    beta: float = INVERSE_TEMPERATURE

    def __call__(self, candidates: Candidates) -> Tensor:
        return _most(candidates, _weights(candidates, self.beta))


def best_of_n(candidates: Candidates) -> Tensor:
    """The candidate with the highest score (with the in-context loss, equal thoughts have equal scores)."""
    return _take(candidates.coefficients, candidates.score.argmax(2, keepdim=True)).squeeze(2)


def oracle_best_of_n(candidates: Candidates) -> Tensor:
    """The candidate nearest to w*: what a perfect verifier would reach."""
    if candidates.error is None:
        raise ValueError("error: expected squared errors, got candidates of prompts without w_star")
    return _take(candidates.coefficients, candidates.error.argmin(2, keepdim=True)).squeeze(2)


@dataclass(frozen=True)
class Rejection:
    """The first candidate whose score is at least ``threshold``; if there is none, the best."""

    threshold: float

    def __call__(self, candidates: Candidates) -> Tensor:
        accepted = candidates.score >= self.threshold
        first = torch.where(accepted.any(2), accepted.to(torch.uint8).argmax(2), candidates.score.argmax(2))
        return _take(candidates.coefficients, first[:, :, None]).squeeze(2)


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


def _most(candidates: Candidates, weights: Tensor) -> Tensor:
    """The whole answer with the largest sum of weights ``[B, G, k]``."""
    code, order = torch.sort(_codes(candidates.coefficients), stable=True, dim=2)
    run = torch.zeros_like(code)
    run[:, :, 1:] = (code[:, :, 1:] != code[:, :, :-1]).cumsum(2)
    # Within a run the weights are sorted, so that their sum does not depend on the order of the candidates.
    weights, inner = torch.sort(weights.gather(2, order), stable=True, dim=2)
    total = torch.zeros_like(weights).scatter_add_(2, run.gather(2, inner), weights)
    total = total.gather(2, run)
    tied = total == total.amax(2, keepdim=True)
    first = torch.zeros_like(candidates.coefficients[:, :, 0], dtype=torch.bool)
    first[:, :, 0] = True
    key = _mix(code ^ candidates.coins(first).reshape(*code.shape[:2], 1))
    winner = key.masked_fill(~tied, torch.iinfo(key.dtype).min).argmax(2, keepdim=True)
    return _take(candidates.coefficients, order.gather(2, winner)).squeeze(2)


def _codes(bits: Tensor) -> Tensor:
    """A number for every answer of zeros and ones ``[..., d]``: ``[...]``; two answers of 63 or more bits have
    the same with probability 2^-64."""
    place = torch.arange(bits.shape[-1], dtype=torch.int64, device=bits.device)
    factor = 1 << place if len(place) < 63 else _mix(place + 1)
    return (bits.to(torch.int64) * factor).sum(-1)


def _mix(x: Tensor) -> Tensor:
    """A permutation of the 64-bit integers that looks random (the finalizer of splitmix64, Steele et al. 2014)."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15), (31, 1)):
        x = (x ^ (x >> shift & (1 << 64 - shift) - 1)) * factor
    return x


_BALLOT = "Wang et al., arXiv 2203.11171"
_VERIFIER = "Cobbe et al., arXiv 2110.14168"

TECHNIQUES: dict[str, Technique | Search] = {
    "greedy": Technique(greedy, "noise-free decode", "Huang, Wang, Lee, arXiv 2502.21212", uses_budget=False),
    "single": Technique(single, "one sample", "Chen et al., arXiv 2508.07571", uses_budget=False),
    "mean": Technique(mean, "mean of the samples", "classical"),
    "median": Technique(median, "median per coefficient", "classical"),
    "geometric_median": Technique(
        geometric_median, "least sum of distances", "Weiszfeld, Tohoku Mathematical Journal 43, 1937"
    ),
    "majority_vote": Technique(
        majority_vote, "majority per coefficient", "classical (Condorcet, 1785)", binary_only=True
    ),
    "plurality": Technique(plurality, "most frequent whole answer (self-consistency)", _BALLOT, binary_only=True),
    "weighted_vote": Technique(
        WeightedVote(),
        "vote per coefficient, weights exp(beta score)",
        "Li et al., arXiv 2206.02336",
        binary_only=True,
        uses_score=True,
    ),
    "softmax_mean": Technique(SoftmaxMean(), "mean with weights exp(beta score)", "arXiv 2512.19905", uses_score=True),
    "best_of_n": Technique(best_of_n, "highest score of the verifier", _VERIFIER, uses_score=True, selects="score"),
    "weighted_best_of_n": Technique(
        WeightedBestOfN(),
        "whole answer with the most weight",
        "Li et al., arXiv 2206.02336",
        binary_only=True,
        uses_score=True,
    ),
    "majority_of_best": Technique(
        MajorityOfBest(), "majority among the best quarter", _VERIFIER, binary_only=True, uses_score=True
    ),
    "oracle_best_of_n": Technique(
        oracle_best_of_n, "nearest to w*", "pass@k, Chen et al., arXiv 2107.03374", needs_truth=True, selects="error"
    ),
    "particle_filter": Search(
        ParticleFilter(),
        "mean of particles, resampled at every thought by exp(10 score)",
        "Puri et al., arXiv 2502.01618",
    ),
    "beam_search": Search(
        BeamSearch(), "at every thought the best quarter goes on, fourfold", "Snell et al., arXiv 2408.03314"
    ),
    "self_refinement": Search(
        SelfRefinement(), "every thought starts from the best answer so far", "Madaan et al., arXiv 2303.17651"
    ),
    "stop_early": Search(
        StopEarly(),
        "mean of the samples, at the first of --steps at which it moved by at most 0.001 in |.|^2 / d",
        "Muennighoff et al., arXiv 2501.19393",
        resumes=False,
    ),
    "adaptive_vote": Search(
        VoteUntilDecided(),
        "majority per coefficient of as few samples as decide all, with error 0.05",
        "Aggarwal et al., arXiv 2305.11860",
        binary_only=True,
        resumes=False,
    ),
}
"""Every technique that ``ttc-fast run`` knows. Those with a threshold that only the user can know,
:class:`Rejection` and :func:`ttc_fast.rejection_search`, are for Python alone."""

DEFAULT = ("greedy", "single", "mean", "majority_vote", "best_of_n", "oracle_best_of_n")
"""What ``ttc-fast run`` shows where it is not told."""
