"""What a vote among k samples would give, estimated from a bank of N: the average over all subsets of k.

Votes of equal weight have an exact law (vote_law.py); weighted ones are averaged over subsets (weighted_vote.py).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from ..numerics import check, extension
from ..numerics.progress import Report, reporting
from .arrays import Array, Integers, integers
from .budgets import sizes
from .tally import NoAnswer as NoAnswer
from .tally import Votes, tally
from .vote_law import Ties as Ties
from .vote_law import majority_law, win_probability
from .weighted_vote import majority_by_score_at_k as majority_by_score_at_k
from .weighted_vote import weighted_vote_at_k as weighted_vote_at_k


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
    samples = check.integer("samples", samples, 1, 2**40)
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
    votes, ks = tally(answers, value, no_answer), sizes(budgets)
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
    return np.asarray(values @ np.clip(wins, 0.0, 1.0).T)  # the transforms of C++ round to either side of 0


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
