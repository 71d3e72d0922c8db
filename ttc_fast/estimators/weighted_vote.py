"""Votes whose winner has no exact law: by sums of weights, or with ties broken by score; averaged over subsets of k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..numerics import check, memory
from ..numerics.tiles import tiles
from .arrays import Array, Integers, bank
from .budgets import sizes
from .selection import best_of_k
from .subsets import index_sets, shuffles, winners_value
from .tally import NoAnswer, Votes, tally
from .vote_law import Ties

_TILE = 2**20
"""Votes in a temporary array: 8 MB."""


def weighted_vote_at_k(
    answers: ArrayLike,
    weight: ArrayLike,
    value: ArrayLike,
    budgets: Sequence[int],
    *,
    ties: Ties = "random",
    no_answer: NoAnswer = "fail",
    subsets: int = 64,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Expected value of the answer with the largest sum of weights among k samples, and its standard error.

    There is no closed form. Where all subsets of k are few (:data:`~ttc_fast.estimators.subsets.EXACT`) this is their
    mean and the error is 0; else the mean over random ones, for each prompt anew, and the error is the Monte Carlo
    standard error, how far the mean over all subsets may be. Neither hangs on the order of the samples, but with
    ``ties="first"``. Never above the best value of k samples, pass@k where values are 0 or 1.
    Source: the weighted vote of Li et al., arXiv 2206.02336.

    Args:
        answers: as in :func:`~ttc_fast.estimators.votes.majority_at_k`.
        weight: of every sample ``[P, N]``, not negative, such as a verifier's score.
        value: of every sample ``[P, N]``, such as correctness.
        budgets: the k, integers of at least 1.
        ties, no_answer: as in :func:`~ttc_fast.estimators.votes.majority_at_k`; sums that differ by
            rounding only are tied.
        subsets: of every budget with too many subsets, at least 2.
        seed: of their choice.

    Returns:
        Two arrays ``[P, K]``; a budget above N gives NaN.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> value, error = weighted_vote_at_k([[0, 1, 1]], [[3, 1, 1]], [[1, 0, 0]], [3])
    >>> value.item(), error.item()
    (1.0, 0.0)
    """
    weights = bank("weight", weight)
    check.choice("ties", ties, get_args(Ties))
    votes = _voting(answers, value, no_answer, "weight", weights)
    if weights.size and weights.min() < 0:
        raise ValueError(f"weight: expected numbers of at least 0, got {weights.min()}")
    ks = _checked(budgets, subsets, seed, weights)
    return _by_subsets(votes, weights, None, bank("value", value), ks, ties, subsets, seed)


def majority_by_score_at_k(
    answers: ArrayLike,
    score: ArrayLike,
    value: ArrayLike,
    budgets: Sequence[int],
    *,
    no_answer: NoAnswer = "fail",
    subsets: int = 64,
    seed: int = 0,
) -> tuple[Array, Array]:
    """The majority vote where of tied answers that with the largest sum of scores wins; and its standard error.

    Args:
        answers, value, budgets, no_answer: as in :func:`~ttc_fast.estimators.votes.majority_at_k`.
        score: of every sample ``[P, N]``, such as a verifier's.
        subsets, seed: as in :func:`weighted_vote_at_k`.

    Returns:
        Two arrays ``[P, K]``; a budget above N gives NaN.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> majority_by_score_at_k([[0, 1]], [[0.9, 0.5]], [[1, 0]], [1, 2])[0].tolist()
    [[0.5, 1.0]]
    """
    scores = bank("score", score)
    votes = _voting(answers, value, no_answer, "score", scores)
    ks, ones = _checked(budgets, subsets, seed, scores), np.ones(scores.shape)
    return _by_subsets(votes, ones, scores, bank("value", value), ks, "random", subsets, seed)


def _checked(budgets: Sequence[int], subsets: int, seed: int, column: Array) -> Integers:
    """The budgets; what is drawn must make sense and fit."""
    check.integer("subsets", subsets, -(2**62), 2**62)
    check.integer("seed", seed, 0, 2**64 - 1)
    if subsets < 2:
        raise ValueError(f"subsets: expected at least 2, got {subsets}")
    memory.check_memory(64 * subsets * column.shape[1], "subsets: their votes", "ask for fewer")
    return sizes(budgets)


def _voting(answers: ArrayLike, value: ArrayLike, no_answer: NoAnswer, name: str, column: Array) -> Votes:
    check.choice("no_answer", no_answer, get_args(NoAnswer))
    votes = tally(answers, value, no_answer)
    if votes.answers.shape != column.shape:
        raise ValueError(f"{name}: expected shape {list(votes.answers.shape)} as answers, got {list(column.shape)}")
    return votes


def _by_subsets(
    votes: Votes,
    weights: Array,
    tie_break: Array | None,
    value: Array,
    budgets: Integers,
    ties: Ties,
    subsets: int,
    seed: int,
) -> tuple[Array, Array]:
    """Mean value of the winner over subsets ``[P, K]``, and the standard error."""
    mean, error = np.full((2, len(weights), len(budgets)), np.nan)
    best = best_of_k(value, value, budgets.tolist())
    columns = [weights, value] if tie_break is None else [weights, value, tie_break]
    parts: list[NDArray[Any]] = [votes.answers, *columns]
    shuffled: list[NDArray[Any]] = []
    for column, k in enumerate(budgets.tolist()):
        if k > weights.shape[1]:
            continue
        if k == 1:  # whoever votes wins
            own = np.take_along_axis(votes.values, np.maximum(votes.answers, 0), 1) * (votes.answers >= 0)
            mean[:, column], error[:, column] = own.mean(axis=1), 0.0
            continue
        sets, exact = index_sets(weights.shape[1], k, subsets, seed)
        if not exact and not shuffled:
            order = shuffles(votes.answers, *columns)
            shuffled = [np.take_along_axis(part, order, 1) for part in parts]
            shuffled += [order] if ties == "first" else []
        won, most = _over_sets(votes, parts if exact else shuffled, sets, exact, ties)
        mean[:, column], error[:, column] = (won[:, 0], 0.0) if exact else _estimate(won, most, best[:, column])
    return np.minimum(mean, best), error


def _over_sets(votes: Votes, parts: list[NDArray[Any]], sets: Integers, exact: bool, ties: Ties) -> tuple[Array, Array]:
    """Value of the winner, and the best value, of every subset ``[P, S]``; of all subsets their means ``[P, 1]``.

    ``parts``: answers, weights, values and what breaks ties, or the place in the order of sampling, ``[P, N]`` each.
    """
    prompts = len(votes.answers)
    won, most = np.zeros((2, prompts, 1 if exact else len(sets)))
    for rows in tiles(prompts, max(1, _TILE // (len(sets) * max(sets.shape[1], votes.counts.shape[1])))):
        drawn = [np.take(part[rows], sets, axis=1) for part in parts]
        if ties == "first" and not exact:
            place = np.argsort(drawn.pop(), axis=2)
            drawn = [np.take_along_axis(part, place, 2) for part in drawn]
        answers, weights, value, *tie_break = drawn
        values = winners_value(answers, weights, votes.values[rows], ties, *tie_break)
        won[rows] = values.mean(axis=1, keepdims=True) if exact else values
        most[rows] = 0.0 if exact else value.max(axis=2)
    return won, most


def _estimate(won: Array, most: Array, best: Array) -> tuple[Array, Array]:
    """Mean and standard error from S random subsets ``[P, S]``.

    The best value of a subset, ``most``, whose mean is known, serves as a control variate where it helps.
    """
    lacking, root = most - won, np.sqrt(won.shape[1])
    if lacking.var(axis=1).sum() < won.var(axis=1).sum():
        return best - lacking.mean(axis=1), lacking.std(axis=1, ddof=1) / root
    return won.mean(axis=1), won.std(axis=1, ddof=1) / root
