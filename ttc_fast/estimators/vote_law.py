"""The exact law of a vote among k samples drawn from a bank of N without replacement.

A draw of k gives the answers b = 1, ..., A the counts X_b, which are multivariate hypergeometric: independent
binomials X_b ~ Bin(n_b, p) given that they and the samples without answer, which do not vote, sum to k. This holds for
any p; p = k/N makes that sum likely. So with j votes answer a wins with probability

    P(X_a = j) P(the others sum to k - j, none has more than j, and those with j lose the tie) / P(all sum to k).

:func:`reference` adds these up as they stand: the law of the sum of the others is a convolution, one answer at a time.
It needs seconds where there are thousands of samples. The C++ extension (``csrc/votes.cpp``), used where it is built,
needs milliseconds: it multiplies Fourier transforms at the roots of unity that matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..numerics import extension
from .arrays import Array, Integers
from .selection import selection_weights

Flags: TypeAlias = NDArray[np.bool_]
Ties: TypeAlias = Literal["random", "fail", "first"]
"""Who wins a tie: a fair draw among the tied answers, nobody, or the one that was sampled first."""

LEAST = 1e-17
"""Events below this probability are left out."""


def win_probability(
    counts: Integers, abstentions: int, budgets: Sequence[int], ties: Ties, answers: Integers, wanted: Flags
) -> Array:
    """Probability that each answer wins the vote among k of N samples.

    Args:
        counts: n_a >= 1 of every answer ``[A]``.
        abstentions: samples without answer, which do not vote; N = sum of counts + abstentions.
        budgets: the k, from 1 to N.
        ties: who wins a tie.
        answers: for ``ties="first"``: the answer of every sample, from 0 to A - 1, in the order of sampling ``[N]``,
            negative for none; else empty.
        wanted: answers whose probability is asked for ``[A]``; it may be 0 for the others.

    Returns:
        ``[K, A]``.
    """
    if not wanted.any():
        return np.zeros((len(budgets), len(counts)))
    if ties == "first":
        once = np.ones_like(counts)
        return np.stack([_of_sizes(counts, once, abstentions, k, ties, answers, wanted) for k in budgets])
    sizes, which, repeats = np.unique(counts, return_inverse=True, return_counts=True)
    wanted_sizes = np.isin(np.arange(len(sizes)), which[wanted])
    laws = [_of_sizes(sizes, repeats, abstentions, k, ties, answers, wanted_sizes) for k in budgets]
    return np.stack(laws)[:, which]


def _of_sizes(
    sizes: Integers, repeats: Integers, abstentions: int, k: int, ties: Ties, answers: Integers, wanted: Flags
) -> Array:
    """P(an answer of each size wins) ``[R]``, where ``repeats[r]`` answers have ``sizes[r]`` samples each."""
    total = int(sizes @ repeats) + abstentions
    if k == 1:
        return np.asarray(sizes / total)
    if k == total:
        return _whole_bank(sizes, repeats, ties, answers)
    if extension.module is None:
        return reference(sizes, repeats, abstentions, k, ties, answers, wanted)
    law = extension.module.win_probability(
        sizes, repeats, answers, abstentions, k, ties == "random", *_sum_law(total, k)
    )
    return np.asarray(law)


def _whole_bank(sizes: Integers, repeats: Integers, ties: Ties, answers: Integers) -> Array:
    """As :func:`_of_sizes`, where all N samples vote."""
    leads = sizes == sizes.max()
    if ties == "first":
        votes = answers[answers >= 0]
        return np.asarray(np.arange(len(sizes)) == votes[leads[votes].argmax()], dtype=np.float64)
    tied = repeats[leads].sum()
    return np.asarray(leads * (1 / tied if ties == "random" else float(tied == 1)))


def reference(
    sizes: Integers, repeats: Integers, abstentions: int, k: int, ties: Ties, answers: Integers, wanted: Flags
) -> Array:
    """P(an answer of each size wins) by plain sums of products of probabilities, right to some 1e-12.

    Its time grows with k^3 and the number of answers, and with ``ties="first"`` also with the number of samples.

    Args:
        sizes: numbers of samples n_a >= 1 ``[R]``.
        repeats: how many answers have as many ``[R]``; with ``ties="first"`` every answer stands alone.
        abstentions, ties, answers: as in :func:`win_probability`.
        k: from 1 to N - 1.
        wanted: sizes whose probability is asked for ``[R]``.

    Returns:
        ``[R]``, 0 for sizes that are not wanted.
    """
    from scipy.stats import binom  # not at the top: it takes half a second, and C++ does without

    total, votes = int(sizes @ repeats) + abstentions, np.arange(k + 1)
    laws = binom.pmf(votes, sizes[:, None], k / total)
    without_vote = binom.pmf(votes, abstentions, k / total)
    sum_is_k = binom.pmf(k, total, k / total)
    wins = np.zeros(len(sizes))
    for a in np.flatnonzero(wanted).tolist():
        rivals = np.repeat(np.arange(len(sizes)), repeats - (np.arange(len(sizes)) == a))
        for j in (1 + np.flatnonzero(laws[a, 1:] > LEAST * sum_is_k)).tolist():
            others = without_vote[: k - j + 1]
            if ties == "first":
                wins[a] += laws[a, j] * _wins_as_first(laws[rivals], others, j, sizes, answers, a)
            else:
                wins[a] += laws[a, j] * _wins_a_draw(laws[rivals], others, j, ties == "random")
    return np.asarray(wins / sum_is_k)


def _wins_a_draw(rivals: Array, others: Array, j: int, fair: bool) -> float:
    """P(k samples are drawn in all, and an answer with j of them wins), where ties are drawn or fail.

    Args:
        rivals: law of the votes of every other answer ``[A - 1, k + 1]``.
        others: law of the number of samples without answer, from 0 to k - j.
    """
    most_tied = min(len(rivals), (len(others) - 1) // j) if fair else 0
    sums = np.zeros((most_tied + 1, len(others)))  # of rivals so far, [with j votes, votes of them all]
    sums[0] = others
    for law in rivals:
        tied = _add(sums, _exactly(law, j))
        sums = _add(sums, law[:j])
        sums[1:] += tied[:-1]
    share = 1 / np.arange(1, most_tied + 2)  # of a win: the draw is fair
    return float(share @ sums[:, -1])


def _wins_as_first(rivals: Array, others: Array, j: int, counts: Integers, answers: Integers, a: int) -> float:
    """As :func:`_wins_a_draw`, where the first of tied answers wins: a sum over the place of the first vote for a."""
    starts = selection_weights(int(counts[a]), [j])[0]  # P(the first of j votes is sample 0, 1, ... of answer a)
    starts = starts[starts > LEAST]
    places = np.flatnonzero(answers == a)[: len(starts)]
    sums = starts[:, None] * others  # [place, votes of the rivals so far]
    for b, law in zip(np.delete(np.arange(len(counts)), a), rivals):
        before = np.searchsorted(np.flatnonzero(answers == b), places)
        i = np.arange(min(j, counts[b]))
        later = np.prod(np.maximum(counts[b] - before[:, None] - i, 0) / (counts[b] - i), axis=1)  # all j votes for b
        sums = _add(sums, law[:j]) + later[:, None] * _add(sums, _exactly(law, j))
    return float(sums[:, -1].sum())


def _exactly(law: Array, j: int) -> Array:
    """The part of a law where there are j votes."""
    return np.append(np.zeros(j), law[j])


def _add(sums: Array, law: Array) -> Array:
    """Laws of sums ``[R, M]`` with one more summand, up to M - 1."""
    return np.stack([np.convolve(row, law)[: len(row)] for row in sums])


@lru_cache(maxsize=128)
def _sum_law(total: int, k: int) -> tuple[float, int]:
    """What C++ needs: P(Bin(N, k/N) = k), and how many roots of unity make it negligible that the sum is off by as
    much or more."""
    p = k / total
    mean = total * p
    reach = 8.6 * np.sqrt(mean * (1 - p))
    low, high = int(max(0, mean - reach - 20)), int(min(total, mean + reach + 20))  # beyond is less than 1e-15
    law = _binomial(total, p, low, high)
    x = np.flatnonzero(law > LEAST * law.max()) + low
    length = int(max(x[-1] - k, k - x[0])) + 1
    return float(law[k - low]), length + 1 - length % 2


def _binomial(n: int, p: float, low: int, high: int) -> Array:
    """P(Bin(n, p) = x) for x = low, ..., high, which holds all but a negligible part."""
    x = np.arange(low, high)
    with np.errstate(divide="ignore"):
        ratio = np.log(np.maximum(n - x, 0) / (x + 1) * (p / (1 - p)))
    log_pmf = np.append(0.0, np.cumsum(ratio))
    pmf = np.exp(log_pmf - log_pmf.max())
    return np.asarray(pmf / pmf.sum())


@lru_cache(maxsize=128)
def majority_law(samples: int, k: int) -> Array:
    """P(more than half of k draws are correct) + P(just half) / 2, for c = 0, ..., N correct ones.

    Args:
        samples: N.
        k: from 1 to N.

    Returns:
        ``[N + 1]``.
    """
    return np.asarray((_at_least(samples, k, -(-k // 2)) + _at_least(samples, k, k // 2 + 1)) / 2)


def _at_least(samples: int, k: int, least: int) -> Array:
    """P(at least ``least`` of k draws are correct) for c = 0, ..., N correct ones: ``[N + 1]``.

    It grows from c - 1 to c by P(the c-th correct one is drawn as number ``least``) =
    C(c-1, least-1) C(N-c, k-least) / C(N, k), a law over c that is made by its ratios from the mode on.
    """
    c = np.arange(least, samples - k + least)
    ratio = np.log(c / (c - least + 1) * (samples - c - k + least) / (samples - c))
    table = np.zeros(samples + 1)
    table[least : samples - k + least + 1] = _from_ratios(ratio)
    return np.minimum(np.cumsum(table), 1.0)


def _from_ratios(log_ratios: Array) -> Array:
    """Probabilities of a unimodal law ``[n + 1]`` from the logarithms ``[n]`` of the ratios of neighbours.

    Summed outwards from the mode, so that no rounding builds up where the probabilities matter.
    """
    mode = int((log_ratios > 0).sum())
    left, right = -np.cumsum(log_ratios[:mode][::-1])[::-1], np.cumsum(log_ratios[mode:])
    weights = np.exp(np.concatenate((left, [0.0], right)))
    return np.asarray(weights / weights.sum())
