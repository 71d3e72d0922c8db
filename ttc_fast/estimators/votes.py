"""The exact law of a vote among k samples drawn from a bank of N without replacement.

A draw of k gives the answers b = 1, ..., A the counts X_b, which are multivariate hypergeometric: independent
binomials X_b ~ Bin(n_b, p) given that they sum to k, for any p; p = k/N makes that sum likely. Answer a wins
with j votes where X_a = j and every other X_b is below j, or equal to j and beaten in the tie, so

    P(a wins) = sum_j P(X_a = j) [z^(k-j)] prod_{b != a} ( sum_{l<j} P(X_b = l) z^l + u_b P(X_b = j) z^j ) / P(sum = k)

averaged over the rule for ties: u_b = u uniform in [0, 1] for a fair draw (the integral over u is a
Gauss-Legendre sum with enough nodes to be exact), u_b = 0 where a tie fails. Where the first sample wins, the
average is over the place i of a's first sample, and u_b is the share of b's subsets that begin later. There C++ takes
the difference from i - 1 to i of q(i) = sum_j [z^k] prod_b ( sum_{l<j} P(X_b = l) z^l + u_b(i) P(X_b = j) z^j ), the
probability that every leader begins after place i: from one place to the next only one factor changes. The
coefficient of z^(k-j) is read off by a discrete Fourier transform long enough that what wraps around is below
rounding. All answers share the j, the roots of unity and the products over rivals; for each j, roots where the
product is below rounding are left out.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..numerics import extension
from .selection import Array, bank, integers, sizes, tiles

Counts: TypeAlias = NDArray[np.int64]
Waves: TypeAlias = NDArray[np.complex128]
Ties: TypeAlias = Literal["random", "fail", "first"]
NoAnswer: TypeAlias = Literal["fail", "ignore"]
Wanted: TypeAlias = NDArray[np.bool_]
Solved: TypeAlias = tuple[Counts, Array]

_NOBODY = np.empty(0, dtype=np.int64)

LEAST = 1e-17
"""Events below this probability are left out."""

_TILE = 2**14
"""Complex numbers in a temporary array: 256 KB, which stay in the cache."""


def majority_right(right: ArrayLike, samples: int, budgets: Sequence[int]) -> Array:
    """Probability that the majority of k of N votes between two answers is right: ``[..., K]``.

    P(X > k/2) plus half of a tie, where X, the right votes among the k, is hypergeometric.

    Args:
        right: r, right votes among the N, integers of any shape ``[...]``.
        samples: N.
        budgets: the k.
    """
    tallies, ks = integers("right", right), sizes(budgets)
    result = np.full((*tallies.shape, len(ks)), np.nan)
    for column, k in enumerate(ks.tolist()):
        if k <= samples:
            result[..., column] = _majority(samples, k)[tallies]
    return result


def majority_at_k(
    answers: ArrayLike,
    value: ArrayLike,
    budgets: Sequence[int],
    *,
    ties: Ties = "random",
    no_answer: NoAnswer = "fail",
    progress: Callable[[float], None] = lambda share: None,
) -> Array:
    """Expected value of the most frequent answer among k samples (self-consistency, maj@k): ``[P, K]``.

    With counts n_a of the answers, the number of subsets in which a wins with j votes, a tie being won by
    the larger of independent uniforms, is the integral over u of C(n_a, j) [z^(k-j)] prod_{b != a}
    (sum_{l<j} C(n_b, l) z^l + u C(n_b, j) z^j). Dividing by C(N, k) turns the binomial coefficients into
    the probabilities of independent binomial variables with p = k/N; the coefficient is read off by a
    discrete Fourier transform, and the integral is a Gauss-Legendre sum with enough nodes to be exact.

    Args:
        answers: an integer for every answer ``[P, N]``, in the order of sampling; negative: no answer.
        value: what judges ``[P, N]``, such as correctness; an answer counts as the mean over its samples.
        budgets: the k.
        ties: ``"random"``: a fair draw among the tied answers; ``"fail"``: a tie is worth 0; ``"first"``:
            the tied answer that was sampled first.
        no_answer: ``"fail"``: a sample without answer votes for an answer of its own kind, which is worth 0;
            ``"ignore"``: it spends budget but does not vote; without any vote the value is 0.
        progress: called with the share of the prompts that is done.
    """
    if ties not in ("random", "fail", "first"):
        raise ValueError(f"ties: expected 'random', 'fail' or 'first', got {ties!r}")
    if no_answer not in ("fail", "ignore"):
        raise ValueError(f"no_answer: expected 'fail' or 'ignore', got {no_answer!r}")
    codes, values, ks = integers("answers", answers), bank("value", value), sizes(budgets)
    if codes.shape != values.shape:
        raise ValueError(f"value: expected shape {list(codes.shape)} as answers, got {list(values.shape)}")
    codes, counts, worth, silent = _tally(codes, values, no_answer)
    result = np.full((len(codes), len(ks)), np.nan)
    (possible,), done = np.nonzero(ks <= codes.shape[1]), 0

    def of_alike(group: Alike) -> tuple[Counts, Array]:
        prompts, order = group
        ours = counts[prompts[0], order[0]]
        ours = ours[ours > 0]
        values = np.take_along_axis(worth[prompts], order, 1)[:, : len(ours)]
        wanted = (values != 0).any(axis=0)
        owners = codes[prompts[0]] if ties == "first" else _NOBODY
        wins = win_probability(ours, int(silent[prompts[0]]), ks[possible].tolist(), ties, owners, wanted)
        return prompts, np.asarray(values @ wins.T)

    alike = _one_by_one(counts) if ties == "first" else _same_counts(counts, silent)
    with _each(of_alike, alike) as solved:
        for prompts, expected in solved:
            result[prompts[:, None], possible] = expected
            done += len(prompts)
            progress(done / len(codes))
    return result


def weighted_vote_at_k(
    answers: ArrayLike, weight: ArrayLike, value: ArrayLike, budgets: Sequence[int], *, subsets: int = 64, seed: int = 0
) -> tuple[Array, Array]:
    """Expected value of the answer with the largest sum of weights among k samples, and its error: two ``[P, K]``.

    There is no closed form, so this is the mean over random subsets, the same for all prompts; the error is
    the Monte Carlo standard error, how far the mean over all subsets may be. Answers of equal sum share.
    Source: the weighted vote of Li et al., arXiv 2206.02336.

    Args:
        answers: as in :func:`majority_at_k`; a sample without answer does not vote.
        weight: of every sample ``[P, N]``, not negative, such as a verifier's score.
        value: what judges ``[P, N]``.
        budgets: the k.
        subsets: of every budget below N, at least 2.
        seed: of their choice.
    """
    codes, values, weights = integers("answers", answers), bank("value", value), bank("weight", weight)
    ks, samples = sizes(budgets), values.shape[1]
    if not codes.shape == values.shape == weights.shape:
        raise ValueError(f"weight: expected shape {list(codes.shape)} as answers, got {list(weights.shape)}")
    if weights.size and weights.min() < 0:
        raise ValueError(f"weight: expected numbers of at least 0, got {weights.min()}")
    if subsets < 2:
        raise ValueError(f"subsets: expected at least 2, got {subsets}")
    codes, counts, worth, _ = _tally(codes, values, "ignore")
    weights, codes = np.where(codes < 0, 0.0, weights), np.maximum(codes, 0)
    kinds = counts.shape[1]
    mean, error = np.full((2, len(codes), len(ks)), np.nan)
    chance = np.random.default_rng(seed)
    for column, k in enumerate(ks.tolist()):
        if k > samples:
            continue
        drawn = np.stack([chance.permutation(samples)[:k] for _ in range(subsets if k < samples else 1)])
        for tile in tiles(len(codes), 2**20 // (len(drawn) * max(k, kinds))):
            rows = len(codes[tile])
            place = codes[tile][:, drawn] + kinds * np.arange(rows * len(drawn)).reshape(rows, -1, 1)
            sums = np.bincount(
                place.ravel(), weights=weights[tile][:, drawn].ravel(), minlength=rows * len(drawn) * kinds
            ).reshape(rows, len(drawn), kinds)
            best = sums.max(axis=2, keepdims=True)
            leaders = (sums == best) & (best > 0)
            won = (leaders * worth[tile, None]).sum(axis=2) / np.maximum(leaders.sum(axis=2), 1)
            mean[tile, column] = won.mean(axis=1)
            error[tile, column] = won.std(axis=1, ddof=1) / np.sqrt(subsets) if k < samples else 0.0
    return mean, error


def _tally(codes: Counts, value: Array, no_answer: NoAnswer) -> tuple[Counts, Counts, Array, Counts]:
    """Answers numbered from 0 within their prompt ``[P, N]``, -1 where silent; their counts and mean values ``[P, A]``;
    the number of silent samples ``[P]``."""
    silent = codes < 0
    if no_answer == "fail":  # one more answer, without worth
        codes, value, silent = np.where(silent, -1, codes), np.where(silent, 0.0, value), np.zeros_like(silent)
    order = np.argsort(codes, axis=1, kind="stable")
    ordered = np.take_along_axis(codes, order, 1)
    new = np.zeros(codes.shape, dtype=np.int64)
    new[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]) & ~np.take_along_axis(silent, order, 1)[:, :-1]
    local = np.empty_like(codes)
    np.put_along_axis(local, order, np.cumsum(new, axis=1), 1)
    local[silent] = -1
    kinds = int(local.max(initial=0)) + 1
    place = (local + kinds * np.arange(len(local))[:, None])[~silent]
    counts = np.bincount(place, minlength=len(local) * kinds).reshape(-1, kinds)
    sums = np.bincount(place, weights=value[~silent], minlength=len(local) * kinds).reshape(-1, kinds)
    return local, counts, sums / np.maximum(counts, 1), silent.sum(axis=1)


Alike: TypeAlias = tuple[Counts, Counts]
"""Prompts with the same law of the vote ``[G]``, and the order of their answers ``[G, A]``."""


def _same_counts(counts: Counts, silent: Counts) -> Iterator[Alike]:
    """Prompts whose sorted counts are the same."""
    order = np.argsort(-counts, axis=1, kind="stable")
    key = np.column_stack((np.take_along_axis(counts, order, 1), silent))
    _, group = np.unique(key, axis=0, return_inverse=True)
    by_group = np.argsort(group.reshape(-1), kind="stable")
    for prompts in np.split(by_group, np.flatnonzero(np.diff(group.reshape(-1)[by_group])) + 1):
        yield prompts, order[prompts]


def _one_by_one(counts: Counts) -> Iterator[Alike]:
    """Every prompt by itself, since the places of its samples matter; answers as they are numbered."""
    for prompt in range(len(counts)):
        yield np.array([prompt]), np.arange(counts.shape[1])[None]


@contextmanager
def _each(work: Callable[[Alike], Solved], groups: Iterator[Alike]) -> Iterator[Iterator[Solved]]:
    """``work`` of each, in order; with C++, which leaves the interpreter to others, on a thread for every core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if extension.module is None or cores == 1:
        yield map(work, groups)
        return
    pool = ThreadPoolExecutor(cores)
    some = iter(lambda: list(itertools.islice(groups, 1024)), [])  # not all of a million prompts wait at once
    try:
        yield itertools.chain.from_iterable(pool.map(work, batch) for batch in some)
    finally:  # an interrupt waits for those under way only
        pool.shutdown(cancel_futures=True)


def win_probability(
    counts: Counts, silent: int, budgets: Sequence[int], ties: Ties, owners: Counts, wanted: Wanted
) -> Array:
    """Probability that each answer wins the vote among k of N samples ``[K, A]``.

    Args:
        counts: n_a >= 1 of every answer ``[A]``.
        silent: samples that do not vote; N = sum of counts + silent.
        budgets: the k, from 1 to N.
        ties: see :func:`majority_at_k`.
        owners: for ``ties="first"``: the answer of every sample in their order ``[N]``, negative: silent; else empty.
        wanted: answers whose probability is asked ``[A]``; it may be 0 for the others.
    """
    if not wanted.any():
        return np.zeros((len(budgets), len(counts)))
    if ties == "first":
        return np.stack([_first_wins(counts, silent, k, owners, wanted) for k in budgets])
    kinds, alike, repeats = np.unique(counts, return_inverse=True, return_counts=True)  # equal counts are alike
    return np.stack([_wins(kinds, repeats, silent, k, ties == "random") for k in budgets])[:, alike]


def _wins(kinds: Counts, repeats: Counts, silent: int, k: int, fair: bool) -> Array:
    """P(one answer of each kind wins) ``[R]``, where ``repeats[b]`` answers have ``kinds[b]`` samples each."""
    total = int(kinds @ repeats) + silent
    if k == 1:
        return np.asarray(kinds / total)
    if k == total:
        return np.asarray((kinds == kinds[-1]) * (1 / repeats[-1] if fair else repeats[-1] == 1))
    at_k, roots = _sum_law(total, k)
    if extension.module is not None:
        return np.asarray(extension.module.win_probability(kinds, repeats, _NOBODY, silent, k, fair, at_k, roots))
    wins, most = np.zeros(len(kinds)), 0
    strong, races = _races(kinds, repeats, silent, k)
    for race in races:
        if fair:
            most = min(int(repeats[strong].sum()) - 1, k // int(race.votes[0]) - 1)
        wins[strong] += _fairly_drawn(race, repeats[strong], most)
    return wins


def _first_wins(counts: Counts, silent: int, k: int, owners: Counts, wanted: Wanted) -> Array:
    """P(each answer wins) where the first sample wins a tie ``[A]``; numpy sums over the samples of those wanted."""
    total, wins = int(counts.sum()) + silent, np.zeros(len(counts))
    if k == 1:
        return np.asarray(counts / total)
    if k == total:
        voters = owners[owners >= 0]
        wins[voters[np.argmax(counts[voters] == counts.max())]] = 1.0
        return wins
    repeats = np.ones_like(counts)
    if extension.module is not None:
        return np.asarray(
            extension.module.win_probability(counts, repeats, owners, silent, k, False, *_sum_law(total, k))
        )
    strong, races = _races(counts, repeats, silent, k)
    rivals = [np.flatnonzero(owners == b) for b in strong]
    for race in races:
        for a in np.flatnonzero(wanted[strong]):
            wins[strong[a]] += _first_sampled(race, int(a), rivals)
    return wins


class _Race(NamedTuple):
    """The law of some numbers j of winning votes, at those roots of unity z that matter."""

    votes: Counts
    """j ``[J]``."""
    exactly: Array
    """P(X_b = j) ``[R, J]``."""
    below: Waves
    """sum_{l<j} P(X_b = l) z^(l-j) ``[R, J, M]``."""
    base: Waves
    """What the free samples add, times the wave that reads off the coefficient, over P(sum = k) ``[J, M]``."""


def _races(kinds: Counts, repeats: Counts, silent: int, k: int) -> tuple[Counts, Iterator[_Race]]:
    """The kinds that may win ``[R]``, and tiles of the numbers of votes with which one may."""
    total = int(kinds @ repeats) + silent
    at_k = _sum_law(total, k)[0]
    low, high = _range(kinds, k / total)
    # The winner has no fewer votes than the strongest gets, and than the mean; negligible cases aside.
    least = max(1, int(low.max()), -(-(k - silent) // int(repeats.sum())))
    strong = np.flatnonzero(high >= least)
    start, stop = int(low[strong].min()), int(high[strong].max())
    laws = _binomials(kinds[strong], k / total, start, stop)
    j = np.arange(least, min(stop, k) + 1)
    exactly, at_most = laws[:, j - start], laws.cumsum(axis=1)[:, j - start]
    chance = (exactly / at_most).max(axis=0) * (at_most ** repeats[strong, None]).prod(axis=0)
    (possible,) = np.nonzero(chance > LEAST * at_k)
    if len(possible) == 0:
        return strong[:0], iter(())
    j = j[possible[0] : possible[-1] + 1]
    reached = laws[:, j - start].sum(axis=1) > LEAST * at_k
    strong = strong[reached]
    return strong, _tiles_of_race(kinds[strong], repeats[strong], laws[reached], start, j, total, k)


def _tiles_of_race(
    kinds: Counts, repeats: Counts, laws: Array, start: int, j: Counts, total: int, k: int
) -> Iterator[_Race]:
    (at_k, length), p = _sum_law(total, k), k / total
    waves = np.arange(length // 2 + 1)  # the roots of the other half plane are conjugate
    roots = np.exp(2j * np.pi / length * np.arange(length))
    free = (1 - p + p * roots[waves]) ** (total - int(kinds @ repeats))  # samples that cannot win: any number of them
    waves = np.flatnonzero(np.abs(free) > LEAST * at_k)
    free = free[waves] * np.where(waves > 0, 2, 1) / (length * at_k)
    back, smaller = roots[-waves], np.arange(start, int(j[0]))
    so_far = laws[:, : len(smaller)] @ roots[np.outer(smaller - j[0], waves) % length]
    for tile in tiles(len(j), _TILE // so_far.size):
        exactly = laws[:, j[tile] - start]
        below = np.empty((len(kinds), exactly.shape[1] + 1, len(waves)), dtype=np.complex128)
        below[:, 0] = so_far
        for i in range(exactly.shape[1]):
            np.add(below[:, i], exactly[:, i, None], out=so_far)
            np.multiply(so_far, back, out=below[:, i + 1])
        so_far = below[:, -1].copy()
        base = free * roots[np.outer(j[tile] * repeats.sum() - k, waves) % length]
        # |below + u exactly| is largest at an end, and with u = 1 it is the next |below|.
        bound = below.real**2 + below.imag**2
        bound = np.maximum(bound[:, :-1], bound[:, 1:])
        for b in np.flatnonzero(repeats > 1):
            bound[b] **= int(repeats[b])
        kept = (bound.prod(axis=0) * np.abs(free) ** 2 > (LEAST / length) ** 2).any(axis=0)
        yield _Race(j[tile], exactly, below[:, :-1, kept], base[:, kept])


def _fairly_drawn(race: _Race, repeats: Counts, most_tied: int) -> Array:
    """P(an answer wins with one of these numbers of votes) for every kind ``[R]``.

    The Gauss-Legendre nodes integrate polynomials of degree ``most_tied`` in u exactly; u = 0 where none can tie.
    """
    nodes, weights = _gauss_legendre(most_tied // 2 + 1) if most_tied else (np.zeros(1), np.ones(1))
    kinds, _, waves = race.below.shape
    factors = np.repeat(race.below, len(nodes), axis=2)
    factors.real += np.tile(nodes, waves) * race.exactly[:, :, None]
    base = np.repeat(race.base, len(nodes), axis=1) * np.tile(weights, waves)
    before, after = np.empty_like(factors), np.ones_like(base)
    for b in range(kinds):
        before[b] = base
        if repeats[b] > 1:
            before[b] *= factors[b] ** int(repeats[b] - 1)
            factors[b] **= int(repeats[b])
        base *= factors[b]
    for b in reversed(range(kinds)):
        before[b] *= after
        after *= factors[b]
    return np.asarray((before.real.sum(axis=2) * race.exactly).sum(axis=1))


@lru_cache(maxsize=64)
def _gauss_legendre(nodes: int) -> tuple[Array, Array]:
    """Nodes in [0, 1] and weights."""
    from scipy.special import roots_legendre

    x, weights = roots_legendre(nodes)
    return (x + 1) / 2, weights / 2


def _first_sampled(race: _Race, a: int, places: Sequence[Counts]) -> float:
    """P(answer a wins with one of these numbers of votes): the average over the place of its first sample.

    There u_b is the probability that b, with as many votes, starts later.
    """
    starts = _not_before(len(places[a]), race.votes)
    share = (starts[:, :-1] - starts[:, 1:]) * race.exactly[a][:, None]
    (cases,) = np.nonzero((share > LEAST).any(axis=0))
    share, rivals, beaten = share[:, cases], [b for b in range(len(places)) if b != a], []
    for b in rivals:
        later = _not_before(len(places[b]), race.votes)
        passed = np.searchsorted(places[b], places[a][cases])
        beaten.append(later[:, np.minimum(passed, later.shape[1] - 1)] * race.exactly[b][:, None])
    if len(rivals) == 1:  # the product is linear in u
        total = share.sum(axis=1, keepdims=True)
        beaten = [(share * beaten[0]).sum(axis=1, keepdims=True) / np.where(total > 0, total, 1.0)]
        share = total
    won = 0.0
    for tile in tiles(share.shape[1], _TILE // race.base.size):
        product = share[:, tile, None] * race.base[:, None]
        for b, u in zip(rivals, beaten):
            factor = np.empty_like(product)
            factor[:] = race.below[b][:, None]
            factor.real += u[:, tile, None]
            product *= factor
        won += float(product.real.sum())
    return won


def _not_before(n: int, j: Counts) -> Array:
    """P(the first c of n are not among j of them) for c = 0, 1, ..., until it is negligible: ``[J, C]``."""
    c = np.arange(min(n, int(40 * n / j[0]) + 1))
    missed = np.maximum(1 - j[:, None] / (n - c), 0.0)
    return np.cumprod(np.column_stack((np.ones(len(j)), missed)), axis=1)


@lru_cache(maxsize=128)
def _sum_law(total: int, k: int) -> tuple[float, int]:
    """P(Bin(N, k/N) = k), and how many roots of unity make it negligible that the sum is off by as much or more."""
    (low,), (high,) = _range(np.array([total]), k / total)
    law = _binomials(np.array([total]), k / total, int(low), int(high))[0]
    x = np.flatnonzero(law > LEAST * law.max()) + low
    length = int(max(x[-1] - k, k - x[0])) + 1
    return float(law[k - low]), length + 1 - length % 2


def _range(n: Counts, p: float) -> tuple[Counts, Counts]:
    """Where Bin(n, p) lies but for a probability below 1e-15, elementwise."""
    mean = n * p
    reach = 8.6 * np.sqrt(mean * (1 - p))
    return np.maximum(0, mean - reach - 20).astype(np.int64), np.minimum(n, mean + reach + 20).astype(np.int64)


def _binomials(n: Counts, p: float, low: int, high: int) -> Array:
    """P(Bin(n, p) = x) for every n and x = low, ..., high, which holds all but a negligible part: ``[R, X]``."""
    x = np.arange(low, high)
    with np.errstate(divide="ignore"):
        ratio = np.log(np.maximum(n[:, None] - x, 0) / (x + 1) * (p / (1 - p)))
    pmf = np.zeros((len(n), len(x) + 1))
    np.cumsum(ratio, axis=1, out=pmf[:, 1:])
    pmf = np.exp(pmf - pmf.max(axis=1, keepdims=True))
    return np.asarray(pmf / pmf.sum(axis=1, keepdims=True))


@lru_cache(maxsize=128)
def _majority(samples: int, k: int) -> Array:
    """P(more than half of k draws are right) + P(just half) / 2 for r = 0, ..., N right ones: ``[N + 1]``."""
    return np.asarray((_at_least(samples, k, -(-k // 2)) + _at_least(samples, k, k // 2 + 1)) / 2)


def _at_least(samples: int, k: int, least: int) -> Array:
    """P(at least ``least`` of k draws are right) for r = 0, ..., N right ones: ``[N + 1]``.

    It grows from r - 1 to r by P(the r-th right one is drawn as number ``least``) =
    C(r-1, least-1) C(N-r, k-least) / C(N, k), a law over r that is made by its ratios from the mode on.
    """
    r = np.arange(least, samples - k + least)
    ratio = np.log(r / (r - least + 1) * (samples - r - k + least) / (samples - r))
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
