"""What a forecast is good for: when a vote passes greedy decoding, when it saturates, and how many samples are worth
their price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..numerics import check
from .fit import Fit

VERIFIED = ("pass@k", "best@k")
"""Metrics that take a call of a verifier for every sample."""

SATURATED = 0.005
"""A vote this near to its limit is saturated."""

HOPELESS = 0.95
"""A prompt whose most likely answer is wrong with this probability is one that voting never solves."""


@dataclass(frozen=True)
class Prices:
    """In any one currency."""

    token: float = 0.0
    """Of a sampled token."""
    verifier: float = 0.0
    """Of a call of the verifier, one for every sample."""
    right: float = 1.0
    """What the right answer of a prompt is worth."""


class Purchase(NamedTuple):
    """The number of samples at which a right answer's worth exceeds the cost by most."""

    metric: str
    k: int
    accuracy: float
    cost: float
    """Of a prompt."""
    per_right: float
    """The price of one more right answer, by the last doubling of samples that is worth it; NaN at k = 1."""
    at_end: bool
    """It is the largest budget of the forecast: more may be worth it."""


class Unsolved(NamedTuple):
    """A prompt that voting does not solve."""

    prompt: str
    probability: float
    """That its most likely answer is wrong."""
    single: float
    """Its samples that are right, of all."""


def votes_to_pass(fit: Fit, greedy: float | None = None) -> int | None:
    """The least budget from which on maj@k is above greedy decoding.

    Args:
        fit: of a log.
        greedy: its accuracy; default that of a single sample, pass@1, whether that is a budget or not.

    Returns:
        The budget, None if there is none, or no vote.
    """
    bar = greedy if greedy is not None else float(fit.law.mean_pass([1])[0])
    votes = fit.of("maj@k")
    above = [k for k, point in votes.items() if all(votes[j].mean > bar + 1e-3 for j in votes if j >= k)]
    return min(above, default=None)


def votes_to_saturate(fit: Fit) -> int | None:
    """The least budget from which on maj@k is within half a percentage point of its limit; None if there is none."""
    votes = fit.of("maj@k")
    if fit.vote_limit is None:
        return None
    limit = fit.vote_limit[0]
    near = [k for k in votes if all(abs(votes[j].mean - limit) <= SATURATED for j in votes if j >= k)]
    return min(near, default=None)


def never_solved(fit: Fit, least: float = HOPELESS) -> list[Unsolved]:
    """The prompts that no number of votes solves, the surest first.

    Args:
        fit: of a log.
        least: the probability that the most likely answer is wrong, at least.
    """
    if fit.unsolved is None:
        return []
    order = np.argsort(-fit.unsolved, kind="stable")
    single = fit.log.correct / fit.log.samples
    return [
        Unsolved(str(fit.log.prompts[p]), float(fit.unsolved[p]), float(single[p]))
        for p in order
        if fit.unsolved[p] >= least
    ]


def cost_of_sample(fit: Fit, prices: Prices, metric: str) -> float:
    """What a sample costs, its mean number of tokens over prompts and the call of a verifier, if the metric needs it.

    Args:
        fit: of a log.
        prices: of tokens and calls.
        metric: what is made of the samples.

    Raises:
        ValueError: a price is no number of at least 0, or the log has no lengths and tokens have a price.
    """
    for name in ("token", "verifier", "right"):
        check.number(f"prices: {name}", getattr(prices, name), low=0.0)
    lengths = fit.log.tokens_of_prompts()
    if prices.token and lengths is None:
        raise ValueError("prices: expected a log with tokens, to count what a sample costs, got one without")
    tokens = 0.0 if lengths is None else float(lengths.mean())
    return prices.token * tokens + prices.verifier * (metric in VERIFIED)


def worth_buying(fit: Fit, prices: Prices) -> list[Purchase]:
    """For each metric the budget, of those of the forecast, at which a right answer's worth exceeds the cost by most.

    Args:
        fit: of a log.
        prices: of tokens, calls of the verifier, and right answers.

    Raises:
        ValueError: as :func:`cost_of_sample`.
    """
    found = []
    for metric in fit.prompt_values:
        points, each = fit.of(metric), cost_of_sample(fit, prices, metric)
        best = max(points, key=lambda k: (round(prices.right * points[k].mean - each * k, 12), -k))
        before = max((k for k in points if k < best), default=None)
        per_right = float("nan")
        if before is not None and points[best].mean > points[before].mean:
            per_right = each * (best - before) / (points[best].mean - points[before].mean)
        found.append(
            Purchase(metric, best, points[best].mean, each * best, per_right, best == fit.budgets[-1] and each > 0)
        )
    return found
