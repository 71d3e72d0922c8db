"""When to stop: techniques that read chains as they are and spend no more of them than they need."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betainc, betaln
from torch import Tensor

from ..numerics import check, sums
from .base import Chains, SearchResult, Work
from .groups import Part, of_part, sums_of_groups


def stop_early(thoughts: Tensor, steps: Sequence[int], tolerance: float, *, least_steps: int = 0) -> SearchResult:
    """Stop a prompt's chains when successive thoughts agree: at the first asked step, not before ``least_steps``,
    at which the mean thought has moved by at most ``tolerance`` in |.|^2 / d since the asked step before.

    Budget forcing (Muennighoff et al., arXiv 2501.19393): ``least_steps`` forces chains to go on, the last asked
    step truncates them.

    Args:
        thoughts: ``[len(steps), B, N, d]`` as :func:`ttc_fast.decode` returns them.
        steps: the asked steps, ascending.
        tolerance: in units of w squared.
        least_steps: steps that every chain makes.

    Returns:
        The mean of the thoughts at which each prompt stopped as the answer, those thoughts as its candidates, and
        the steps.

    Raises:
        TypeError, ValueError: an argument is not as described.
    """
    asked = [check.integer("steps", t, 0, 2**34) for t in check.listed("steps", steps, "ascending integers")]
    if not asked or asked != sorted(asked):
        raise ValueError(f"steps: expected at least one step, ascending, got {check.shown(steps)}")
    check.tensor("thoughts", thoughts, (len(asked), "B", "N", "d"))
    if 0 in thoughts.shape[2:]:
        raise ValueError(f"thoughts: expected at least one sample and coefficient, got shape {list(thoughts.shape)}")
    tolerance = check.number("tolerance", tolerance, low=0.0)
    least_steps, thoughts = check.integer("least_steps", least_steps, 0, 2**34), thoughts.detach()
    centre = sums.tree_mean(thoughts, 2)
    stop, made = _stopping(centre, asked, tolerance, least_steps)
    prompt = torch.arange(thoughts.shape[1], device=thoughts.device)
    spent = made * thoughts.shape[2]
    return SearchResult(
        centre[stop, prompt],
        Work(spent, torch.zeros_like(spent)),
        candidates=thoughts[stop, prompt],
        steps=made,
    )


def _stopping(centre: Tensor, asked: Sequence[int], tolerance: float, least_steps: int = 0) -> tuple[Tensor, Tensor]:
    """Which of the asked steps it is at which chains with such mean thoughts ``[len(asked), ..., d]`` stop: its number
    and itself, ``[...]``."""
    steps = torch.tensor(asked).to(centre.device, non_blocking=True)
    at = steps.view(-1, *[1] * (centre.ndim - 2))
    moved = torch.full(centre.shape[:-1], math.inf, dtype=centre.dtype, device=centre.device)
    moved[1:] = sums.tree_mean((centre[1:] - centre[:-1]).square(), -1)
    agree = (moved <= tolerance) & (at >= least_steps)
    agree[-1] = True
    stop = agree.to(torch.uint8).argmax(0)
    return stop, steps[stop]


def adaptive_vote(bits: Tensor, error: float = 0.05) -> SearchResult:
    """Vote per coefficient on as many samples as needed: stop once every coefficient is decided.

    A coefficient is decided for its leader when the likelihood ratio of a probability uniform in [1/2, 1]
    against 1/2 exceeds d / error; by Ville's inequality any coefficient of a prompt is ever decided against
    the majority of infinitely many samples with probability at most ``error``, whenever one looks. Source:
    the test of a mixture, Robbins, Annals of Mathematical Statistics 41, 1970; adaptive voting, Aggarwal et
    al., arXiv 2305.11860.

    Args:
        bits: candidates ``[B, N, d]`` of zeros and ones, in the order of sampling.
        error: the stated probability, in (0, 1). Undecided coefficients go by majority, a tie by the first vote.

    Returns:
        The answer, the samples spent on each prompt, and whether the vote was decided before they ran out; the work
        is that of samples of one thought each.

    Raises:
        TypeError, ValueError: an argument is not as described.
    """
    check.finite("bits", check.tensor("bits", bits, ("B", "N", "d")))
    if 0 in bits.shape[1:]:
        raise ValueError(f"bits: expected at least one sample and coefficient, got shape {list(bits.shape)}")
    error, bits = check.number("error", error), bits.detach()
    if not 0 < error < 1:
        raise ValueError(f"error: expected a probability between 0 and 1, got {error}")
    answer, spent, decided = (found[:, 0] for found in _votes(bits[:, None], error))
    return SearchResult(answer, Work(spent, torch.zeros_like(spent)), samples=spent, decided=decided)


def _votes(bits: Tensor, error: float) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`adaptive_vote` of groups ``[B, G, k, d]``: the answers ``[B, G, d]``, and of every group the samples spent
    and whether it was decided."""
    samples, dim = bits.shape[2:]
    ones = bits.to(torch.int64).cumsum(2)
    seen = torch.arange(1, samples + 1, device=bits.device)[:, None]
    sure = torch.maximum(ones, seen - ones) >= _lead(samples, math.log(dim / error), bits.device)[:, None]
    decided = sure.any(2)
    when = torch.where(decided, sure.to(torch.uint8).argmax(2), samples - 1)
    doubled = 2 * ones.gather(2, when[:, :, None])[:, :, 0] - (when + 1)
    answer = torch.where(doubled == 0, ones[:, :, 0], (doubled > 0).to(ones))
    return answer.to(bits), when.amax(2) + 1, decided.all(2)


@functools.lru_cache(maxsize=64)
def _lead(samples: int, limit: float, device: torch.device) -> Tensor:
    """:func:`_deciding_lead`, sent once."""
    return torch.from_numpy(_deciding_lead(samples, limit)).to(device, non_blocking=True)


def _deciding_lead(samples: int, limit: float) -> NDArray[np.int64]:
    """The least votes for a leader among 1, ..., ``samples`` votes with a log likelihood ratio of at least ``limit``
    ``[samples]``; more than there are where none suffice. By bisection: the ratio grows with the lead."""
    seen = np.arange(1, samples + 1)
    low, high = seen // 2, seen + 1  # up to half of the votes the ratio is at most 1
    while (high - low > 1).any():
        lead = (low + high) // 2
        with np.errstate(divide="ignore"):
            share = np.log(betainc(seen - lead + 1, lead + 1, 0.5))
        decides = betaln(lead + 1, seen - lead + 1) + share + (seen + 1) * math.log(2) >= limit
        low, high = np.where(decides, low, lead), np.where(decides, lead, high)
    return high


@dataclass(frozen=True)
class StopEarly:
    """The mean of k thoughts at the step where :func:`stop_early` stops them, one of the asked ones."""

    tolerance: float = 1e-3

    def __call__(self, chains: Chains) -> SearchResult:
        return stop_early(chains.thoughts, chains.steps, self.tolerance)

    def together(self, chains: Chains, parts: Sequence[Part]) -> tuple[Tensor, Work]:
        """See :class:`Together`."""
        steps, prompts = chains.thoughts.shape[:2]
        means = [sums_of_groups(of_part(chains.thoughts.flatten(0, 1), part), part) / part.size for part in parts]
        centre = torch.cat(means, 1).unflatten(0, (steps, prompts))
        stop, made = _stopping(centre, chains.steps, check.number("tolerance", self.tolerance, low=0.0))
        answer = centre.gather(0, stop[None, ..., None].expand(-1, -1, -1, centre.shape[3]))[0]
        size = torch.tensor([part.size for part in parts for _ in range(part.repeats)])
        spent = made * size.to(made.device, non_blocking=True)
        return answer, Work(spent, torch.zeros_like(spent))


@dataclass(frozen=True)
class VoteUntilDecided:
    """:func:`adaptive_vote` on at most k chains."""

    error: float = 0.05

    def __call__(self, chains: Chains) -> SearchResult:
        vote = adaptive_vote(chains.thoughts[-1], self.error)
        return replace(vote, work=Work(vote.work.thoughts * chains.steps[-1], vote.work.scores))

    def together(self, chains: Chains, parts: Sequence[Part]) -> tuple[Tensor, Work]:
        """See :class:`Together`."""
        bits = [of_part(chains.thoughts[-1], part).unflatten(1, (part.repeats, part.size)) for part in parts]
        answers, samples, _ = (torch.cat(found, 1) for found in zip(*(_votes(x, self.error) for x in bits)))
        spent = samples * chains.steps[-1]
        return answers, Work(spent, torch.zeros_like(spent))
