"""What a vote among k samples would give, estimated from a bank of N: the average over all subsets of k.

Votes of equal weight have an exact law (vote_law.py); weighted ones are averaged over random subsets.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from ..numerics import check, extension
from ..numerics.progress import Report, reporting
from ..numerics.tiles import tiles
from .arrays import Array, Integers, bank, integers
from .budgets import sizes
from .vote_law import Ties as Ties
from .vote_law import majority_law, win_probability

NoAnswer: TypeAlias = Literal["fail", "ignore"]
"""What a sample without answer does: it votes for an answer that is worth 0, or it does not vote."""

_TILE = 2**20
"""Votes in a temporary array: 8 MB."""


def majority_correct_at_k(correct: ArrayLike, samples: int, budgets: Sequence[int]) -> Array:
    """Probability that the majority of k of N votes between two answers is correct.

    P(X > k/2) plus half of a tie, where X, the correct votes among the k, is hypergeometric.

    Args:
        correct: c, correct votes among the N, integers of any shape ``[...]``.
        samples: N.
        budgets: the k, integers of at least 1.

    Returns:
        ``[..., K]``; a budget above N gives NaN.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> majority_correct_at_k([2, 3], 4, [1, 2, 3]).round(3).tolist()
    [[0.5, 0.5, 0.5], [0.75, 0.75, 1.0]]
    """
    counts, ks = integers("correct", correct), sizes(budgets)
    if counts.size and not 0 <= counts.min() <= counts.max() <= samples:
        raise ValueError(f"correct: expected integers from 0 to {samples}, got {counts.min()} to {counts.max()}")
    result = np.full((*counts.shape, len(ks)), np.nan)
    for column, k in enumerate(ks.tolist()):
        if k <= samples:
            result[..., column] = majority_law(samples, k)[counts]
    return result


def majority_at_k(
    answers: ArrayLike,
    value: ArrayLike,
    budgets: Sequence[int],
    *,
    ties: Ties = "random",
    no_answer: NoAnswer = "fail",
    progress: bool | Report = False,
) -> Array:
    """Expected value of the most frequent answer among k samples (self-consistency, maj@k).

    Source: self-consistency, Wang et al., arXiv 2203.11171; the law of the vote is in vote_law.py.

    Args:
        answers: an integer for every answer ``[P, N]``, in the order of sampling; negative: no answer.
        value: of every sample ``[P, N]``, such as correctness; an answer counts as the mean over its samples.
        budgets: the k, integers of at least 1.
        ties: ``"random"``: a fair draw among the tied answers; ``"fail"``: a tie is worth 0; ``"first"``:
            the tied answer that was sampled first.
        no_answer: ``"fail"``: a sample without answer votes for an answer of its own kind, which is worth 0;
            ``"ignore"``: it spends budget but does not vote; without any vote the value is 0.
        progress: of the stage ``"votes"``, as in :func:`ttc_fast.numerics.progress.reporting`.

    Returns:
        ``[P, K]``; a budget above N gives NaN.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> majority_at_k([[0, 0, 1]], [[1, 1, 0]], [1, 2, 3]).round(3).tolist()
    [[0.667, 0.667, 1.0]]
    """
    check.choice("ties", ties, get_args(Ties))
    check.choice("no_answer", no_answer, get_args(NoAnswer))
    votes, ks = _tally(answers, value, no_answer), sizes(budgets)
    result = np.full((len(votes.answers), len(ks)), np.nan)
    (possible,), done = np.nonzero(ks <= votes.answers.shape[1]), 0
    groups = _single_prompts(votes) if ties == "first" else _prompts_of_equal_counts(votes)

    def expected_values(group: Group) -> tuple[Group, Array]:
        return group, _expected_values(votes, group, ks[possible].tolist(), ties)

    with reporting(progress) as report, _in_threads(expected_values, groups) as results:
        for group, values in results:
            result[group.prompts[:, None], possible] = values
            done += len(group.prompts)
            report("votes", done / len(result))
    return result


@dataclass(frozen=True)
class Votes:
    """The votes of a bank, by prompt."""

    answers: Integers
    """``[P, N]``, numbered from 0 within the prompt; -1 for a sample that does not vote."""
    counts: Integers
    """Samples of every answer ``[P, A]``; 0 where a prompt has fewer answers than another."""
    values: Array
    """Mean value of every answer ``[P, A]``."""
    abstentions: Integers
    """Samples that do not vote ``[P]``."""


def _tally(answers: ArrayLike, value: ArrayLike, no_answer: NoAnswer) -> Votes:
    given, value = integers("answers", answers), bank("value", value)
    if given.shape != value.shape:
        raise ValueError(f"value: expected shape {list(given.shape)} as answers, got {list(value.shape)}")
    abstains = given < 0
    if no_answer == "fail":  # one more answer, which is worth 0
        given, value, abstains = np.where(abstains, -1, given), np.where(abstains, 0.0, value), np.zeros_like(abstains)
    order = np.argsort(given, axis=1, kind="stable")
    ordered = np.take_along_axis(given, order, 1)
    new = np.zeros(given.shape, dtype=np.int64)
    new[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]) & ~np.take_along_axis(abstains, order, 1)[:, :-1]
    numbered = np.empty_like(given)
    np.put_along_axis(numbered, order, np.cumsum(new, axis=1), 1)
    numbered[abstains] = -1
    most = int(numbered.max(initial=0)) + 1
    place = (numbered + most * np.arange(len(numbered))[:, None])[~abstains]
    counts = np.bincount(place, minlength=len(numbered) * most).reshape(-1, most)
    sums = np.bincount(place, weights=value[~abstains], minlength=len(numbered) * most).reshape(-1, most)
    return Votes(numbered, counts, sums / np.maximum(counts, 1), abstains.sum(axis=1))


@dataclass(frozen=True)
class Group:
    """Prompts whose votes have the same law."""

    prompts: Integers
    """``[G]``."""
    order: Integers
    """Answers of each ``[G, A]``, so that their counts agree."""


def _prompts_of_equal_counts(votes: Votes) -> Iterator[Group]:
    order = np.argsort(-votes.counts, axis=1, kind="stable")
    key = np.column_stack((np.take_along_axis(votes.counts, order, 1), votes.abstentions))
    _, group = np.unique(key, axis=0, return_inverse=True)
    by_group = np.argsort(group.reshape(-1), kind="stable")
    for prompts in np.split(by_group, np.flatnonzero(np.diff(group.reshape(-1)[by_group])) + 1):
        yield Group(prompts, order[prompts])


def _single_prompts(votes: Votes) -> Iterator[Group]:
    """For ``ties="first"``: the places of the samples matter, so every prompt has a law of its own."""
    for prompt in range(len(votes.counts)):
        yield Group(np.array([prompt]), np.arange(votes.counts.shape[1])[None])


def _expected_values(votes: Votes, group: Group, budgets: list[int], ties: Ties) -> Array:
    """Of the answer that wins, for every prompt of the group ``[G, K]``."""
    one = group.prompts[0]
    counts = votes.counts[one, group.order[0]]
    counts = counts[counts > 0]
    values = np.take_along_axis(votes.values[group.prompts], group.order, 1)[:, : len(counts)]
    answers = votes.answers[one] if ties == "first" else np.empty(0, dtype=np.int64)
    wanted = (values != 0).any(axis=0)
    wins = win_probability(counts, int(votes.abstentions[one]), budgets, ties, answers, wanted)
    return np.asarray(values @ wins.T)


@contextmanager
def _in_threads(
    work: Callable[[Group], tuple[Group, Array]], groups: Iterator[Group]
) -> Iterator[Iterator[tuple[Group, Array]]]:
    """``work`` of each, in order; with C++, which leaves the interpreter to others, on a thread for every core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if extension.module is None or cores == 1:
        yield map(work, groups)
        return
    pool = ThreadPoolExecutor(cores)
    batches = iter(lambda: list(itertools.islice(groups, 1024)), [])  # not all of a million prompts wait at once
    try:
        yield itertools.chain.from_iterable(pool.map(work, batch) for batch in batches)
    finally:  # an interrupt waits for those under way only
        pool.shutdown(cancel_futures=True)


def weighted_vote_at_k(
    answers: ArrayLike, weight: ArrayLike, value: ArrayLike, budgets: Sequence[int], *, subsets: int = 64, seed: int = 0
) -> tuple[Array, Array]:
    """Expected value of the answer with the largest sum of weights among k samples, and its standard error.

    There is no closed form, so this is the mean over random subsets, the same for all prompts; the error is
    the Monte Carlo standard error, how far the mean over all subsets may be. Answers of equal sum share.
    Source: the weighted vote of Li et al., arXiv 2206.02336.

    Args:
        answers: as in :func:`majority_at_k`; a sample without answer does not vote.
        weight: of every sample ``[P, N]``, not negative, such as a verifier's score.
        value: of every sample ``[P, N]``, such as correctness.
        budgets: the k, integers of at least 1.
        subsets: of every budget below N, at least 2.
        seed: of their choice.

    Returns:
        Two arrays ``[P, K]``; a budget above N gives NaN.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> value, error = weighted_vote_at_k([[0, 1, 1]], [[3, 1, 1]], [[1, 0, 0]], [3])
    >>> value.item(), error.item()
    (1.0, 0.0)
    """
    weights, ks = bank("weight", weight), sizes(budgets)
    votes = _tally(answers, value, "ignore")
    if votes.answers.shape != weights.shape:
        raise ValueError(f"weight: expected shape {list(votes.answers.shape)} as answers, got {list(weights.shape)}")
    if weights.size and weights.min() < 0:
        raise ValueError(f"weight: expected numbers of at least 0, got {weights.min()}")
    if subsets < 2:
        raise ValueError(f"subsets: expected at least 2, got {subsets}")
    weights, samples = np.where(votes.answers < 0, 0.0, weights), weights.shape[1]
    mean, error = np.full((2, len(weights), len(ks)), np.nan)
    rng = np.random.default_rng(seed)
    for column, k in enumerate(ks.tolist()):
        if k > samples:
            continue
        drawn = np.stack([rng.permutation(samples)[:k] for _ in range(subsets if k < samples else 1)])
        for rows in tiles(len(weights), _TILE // (len(drawn) * max(k, votes.counts.shape[1]))):
            won = _weighted_votes(votes.answers[rows][:, drawn], weights[rows][:, drawn], votes.values[rows])
            mean[rows, column] = won.mean(axis=1)
            error[rows, column] = won.std(axis=1, ddof=1) / np.sqrt(subsets) if k < samples else 0.0
    return mean, error


def _weighted_votes(answers: Integers, weights: Array, values: Array) -> Array:
    """Value of the answer with the largest sum of weights ``[P, S]``, 0 where no weight is above 0.

    Args:
        answers, weights: of the k samples of each of S subsets ``[P, S, k]``.
        values: of every answer ``[P, A]``.
    """
    prompts, subsets, _ = answers.shape
    most = values.shape[1]
    place = np.maximum(answers, 0) + most * np.arange(prompts * subsets).reshape(prompts, -1, 1)
    sums = np.bincount(place.ravel(), weights=weights.ravel(), minlength=prompts * subsets * most)
    sums = sums.reshape(prompts, subsets, most)
    best = sums.max(axis=2, keepdims=True)
    leaders = (sums == best) & (best > 0)
    return np.asarray((leaders * values[:, None]).sum(axis=2) / np.maximum(leaders.sum(axis=2), 1))
