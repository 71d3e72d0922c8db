"""Subsets of k of a bank's N samples: all of them where they are few, else random ones, for each prompt anew.

Which random subsets a prompt gets hangs on what its samples are, not on the order in which a file lists them: samples
are first sorted by content, then shuffled by a hash of the content; prompts of the same content get different shuffles.
The same index sets then serve all prompts: behind independent shuffles the errors of two prompts are independent.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .arrays import Array, Integers

Words = NDArray[np.uint64]

EXACT = 2**17
"""Samples in all subsets of a prompt together, up to which all are taken: all of C(16, 8), for example."""


@lru_cache(maxsize=32)
def index_sets(samples: int, k: int, subsets: int, seed: int) -> tuple[Integers, bool]:
    """Index sets ``[S, k]``, each ascending where they are all, and whether they are all.

    Args:
        samples: N.
        k: from 1 to N.
        subsets: how many, where all are too many.
        seed: of their choice.
    """
    number = math.comb(samples, k)
    if number * k <= EXACT or number <= 1:
        flat = itertools.chain.from_iterable(itertools.combinations(range(samples), k))
        return np.fromiter(flat, dtype=np.int64, count=number * k).reshape(number, k), True
    rng = np.random.default_rng([seed, k])
    return np.stack([rng.permutation(samples)[:k] for _ in range(subsets)]), False


def shuffles(answers: Integers, *columns: Array) -> Integers:
    """A random order of the samples of every prompt ``[P, N]``, that of the file aside.

    Args:
        answers: ``[P, N]``, numbered in any way.
        columns: what else is known of every sample ``[P, N]``.
    """
    content = np.zeros(answers.shape, dtype=np.uint64)
    for column in columns:
        content = _mixed(content + (column + 0.0).view(np.uint64))  # + 0.0: of two zeros one
    answer = _sums_by_answer(answers, content)
    order = np.lexsort((content, answers, answer), axis=-1)
    place = np.arange(answers.shape[1], dtype=np.uint64)
    sorted_content = np.take_along_axis(_mixed(content + answer), order, 1)
    prompt = _mixed(sorted_content + place).sum(axis=1, dtype=np.uint64)
    prompt = _mixed(prompt + _occurrence(prompt))
    key = _mixed(prompt[:, None] + _mixed(place + np.uint64(1)))
    return np.take_along_axis(order, np.argsort(key, axis=1, kind="stable"), 1)


def _sums_by_answer(answers: Integers, content: Words) -> Words:
    """For every sample: a hash of all samples that share its answer, whatever their order."""
    order = np.argsort(answers, axis=1, kind="stable")
    ordered, hashes = np.take_along_axis(answers, order, 1), np.take_along_axis(_mixed(content), order, 1)
    new = np.ones(answers.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(new)
    sums = np.add.reduceat(hashes.ravel(), starts)
    spread = np.repeat(sums, np.diff(starts, append=answers.size)).reshape(answers.shape)
    result = np.empty_like(spread)
    np.put_along_axis(result, order, spread, 1)
    return result


def _occurrence(prompt: Words) -> Words:
    """How many prompts of the same content come before each."""
    order = np.argsort(prompt, kind="stable")
    new = np.ones(len(prompt), dtype=bool)
    new[1:] = prompt[order][1:] != prompt[order][:-1]
    place = np.arange(len(prompt))
    result = np.empty(len(prompt), dtype=np.uint64)
    result[order] = (place - np.maximum.accumulate(np.where(new, place, 0))).astype(np.uint64)
    return result


def _mixed(words: Words) -> Words:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), a bijection that spreads every bit."""
    z = words + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def winners_value(answers: Integers, weights: Array, values: Array, ties: str, tie_break: Array | None = None) -> Array:
    """Value of the answer with the largest sum of weights in each of S subsets ``[P, S]``; 0 where nobody votes.

    Args:
        answers: of the k samples of every subset, in the order of sampling ``[P, S, k]``; negative: no vote.
        weights: of the same samples, not negative.
        values: of every answer ``[P, A]``.
        ties: ``"random"``: leaders share; ``"fail"``: a tie is worth 0; ``"first"``: the first leader.
        tie_break: of every sample ``[P, S, k]``: among leaders those with the largest sum of it remain.
    """
    prompts, subsets, _ = answers.shape
    most = max(values.shape[1], 1)
    votes = answers >= 0
    all_vote = bool(votes.all())
    every = answers + most * np.arange(prompts * subsets).reshape(prompts, -1, 1)
    place = every.ravel() if all_vote else every[votes]
    shape, size = (prompts, subsets, most), prompts * subsets * most
    leaders = np.bincount(place, minlength=size).reshape(shape) > 0
    for column in (weights, tie_break):
        if column is not None:
            column = column.ravel() if all_vote else column[votes]
            sums = np.bincount(place, weights=column, minlength=size).reshape(shape)
            best = np.where(leaders, sums, -np.inf).max(axis=2, keepdims=True, initial=-np.inf)
            near = 1e-12 * np.where(np.isfinite(best), np.abs(best), 0.0)  # sums of other order round otherwise
            leaders &= sums >= best - near
    value = np.broadcast_to(values[:, None], shape)
    number = leaders.sum(axis=2)
    if ties == "first":
        leads = np.take_along_axis(leaders, np.maximum(answers, 0), 2) & votes
        first = np.take_along_axis(answers, leads.argmax(axis=2)[:, :, None], 2)
        return np.where(number > 0, np.take_along_axis(value, np.maximum(first, 0), 2)[:, :, 0], 0.0)
    shared = (leaders * value).sum(axis=2) / np.maximum(number, 1)
    return np.asarray(np.where(number > 1, 0.0, shared) if ties == "fail" else shared)
