"""The exact law of a vote among k samples drawn from a bank of N without replacement.

A draw of k gives the answers b = 1, ..., A the counts X_b, which are multivariate hypergeometric: independent
binomials X_b ~ Bin(n_b, p) given that they sum to k, for any p; p = k/N makes that sum likely. Answer a wins
with j votes where X_a = j and every other X_b is below j, or equal to j and beaten in the tie, so

    P(a wins) = sum_j P(X_a = j) [z^(k-j)] prod_{b != a} ( sum_{l<j} P(X_b = l) z^l + u_b P(X_b = j) z^j ) / P(sum = k)

averaged over the rule for ties: u_b = u uniform in [0, 1] for a fair draw (the integral over u is a
Gauss-Legendre sum with enough nodes to be exact), u_b = 0 where a tie fails. Where the first sample wins, the
average is over the place of a's first sample, and u_b is the share of b's subsets that begin later. The
coefficient of z^(k-j) is read off by a discrete Fourier transform long enough that what wraps around is below
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .estimators import Array, bank, integers, pass_at_k, selection_weights, sizes, tiles

Counts: TypeAlias = NDArray[np.int64]
Waves: TypeAlias = NDArray[np.complex128]
Ties: TypeAlias = Literal["random", "fail", "first"]
NoAnswer: TypeAlias = Literal["fail", "ignore"]
TieRule: TypeAlias = Sequence[tuple[Array, Array]]
"""Cases of a tie: the weight of the case ``[J]``, and u_b ``[R, J]`` or, alike for all rivals, ``[1, J]``."""

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
            least, more = -(-k // 2), k // 2 + 1
            table = (_at_least(samples, k, least) + _at_least(samples, k, more)) / 2
            result[..., column] = table[tallies]
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
    alike = _first_come(codes, counts) if ties == "first" else _same_counts(counts, silent)
    done = 0
    for prompts, order, positions in alike:
        ours = counts[prompts[0], order[0]]
        ours = ours[ours > 0]
        values = np.take_along_axis(worth[prompts], order, 1)[:, : len(ours)]
        for column in np.flatnonzero(ks <= codes.shape[1]):
            wanted = (values != 0).any(axis=0)
            wins = win_probability(ours, int(silent[prompts[0]]), int(ks[column]), ties, positions, wanted)
            result[prompts, column] = values @ wins
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
    """Answers numbered within their prompt ``[P, N]``, -1 where silent; their counts and mean values ``[P, A]``;
    the number of silent samples ``[P]``."""
    silent = codes < 0
    if no_answer == "fail":  # one more answer, without worth
        codes, value, silent = np.where(silent, -1, codes), np.where(silent, 0.0, value), np.zeros_like(silent)
    order = np.argsort(codes, axis=1, kind="stable")
    ordered = np.take_along_axis(codes, order, 1)
    new = np.zeros(codes.shape, dtype=np.int64)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    local = np.empty_like(codes)
    np.put_along_axis(local, order, np.cumsum(new, axis=1), 1)
    local[silent] = -1
    kinds = int(local.max(initial=0)) + 1
    place = (local + kinds * np.arange(len(local))[:, None])[~silent]
    counts = np.bincount(place, minlength=len(local) * kinds).reshape(-1, kinds)
    sums = np.bincount(place, weights=value[~silent], minlength=len(local) * kinds).reshape(-1, kinds)
    return local, counts, sums / np.maximum(counts, 1), silent.sum(axis=1)


Alike: TypeAlias = Iterator[tuple[Counts, Counts, Sequence[Counts]]]
"""Prompts with the same law of the vote ``[G]``; the order of their answers ``[G, A]``; places of the samples."""


def _same_counts(counts: Counts, silent: Counts) -> Alike:
    """Prompts whose sorted counts are the same."""
    order = np.argsort(-counts, axis=1, kind="stable")
    key = np.column_stack((np.take_along_axis(counts, order, 1), silent))
    _, group = np.unique(key, axis=0, return_inverse=True)
    by_group = np.argsort(group.reshape(-1), kind="stable")
    for prompts in np.split(by_group, np.flatnonzero(np.diff(group.reshape(-1)[by_group])) + 1):
        yield prompts, order[prompts], []


def _first_come(codes: Counts, counts: Counts) -> Alike:
    """Every prompt by itself, since the places of its samples matter."""
    for prompt in range(len(codes)):
        order = np.flatnonzero(counts[prompt])
        yield np.array([prompt]), order[None], [np.flatnonzero(codes[prompt] == a) for a in order]


def win_probability(
    counts: Counts, silent: int, k: int, ties: Ties, positions: Sequence[Counts], wanted: NDArray[np.bool_]
) -> Array:
    """Probability that each answer wins the vote among k of N samples ``[A]``; 0 where it is not ``wanted``.

    Args:
        counts: n_a >= 1 of every answer ``[A]``.
        silent: samples that do not vote; N = sum of counts + silent.
        k: from 1 to N.
        ties: see :func:`majority_at_k`.
        positions: for ``ties="first"``: the ascending places of every answer's samples; else not read.
        wanted: answers whose probability is asked ``[A]``.
    """
    total = int(counts.sum()) + silent
    wins = np.zeros(len(counts))
    if k == 1:
        return np.asarray(counts / total * wanted)
    if k == total:
        leaders = np.flatnonzero(counts == counts.max()) if len(counts) else np.zeros(0, dtype=np.int64)
        if ties == "first" and len(leaders):
            leaders = leaders[[np.argmin([positions[int(a)][0] for a in leaders])]]
        if ties != "fail" or len(leaders) == 1:
            wins[leaders] = 1 / max(len(leaders), 1)
        return np.asarray(wins * wanted)
    seen: dict[int, float] = {}
    for a in np.flatnonzero(wanted):
        n = int(counts[a])
        if n not in seen or ties == "first":  # answers of equal count are alike
            seen[n] = _wins(int(a), counts, silent, k, ties, positions)
        wins[a] = seen[n]
    return wins


def _wins(a: int, counts: Counts, silent: int, k: int, ties: Ties, positions: Sequence[Counts]) -> float:
    """P(answer a wins), k < N."""
    total = int(counts.sum()) + silent
    p = k / total
    low, high = _range(counts, p)
    # No fewer votes than the strongest gets, than the mean, than the others leave; negligible cases aside.
    least = max(1, int(low.max()), -(-(k - silent) // len(counts)), k - total + int(counts[a]))
    if least > high[a]:
        return 0.0
    rivals = np.flatnonzero((high >= least) & (np.arange(len(counts)) != a))
    free = total - int(counts[a]) - int(counts[rivals].sum())  # samples that cannot matter: any number of them
    repeats = np.ones(len(rivals), dtype=np.int64)
    if ties != "first":  # rivals of equal count are alike
        _, first, repeats = np.unique(counts[rivals], return_index=True, return_counts=True)
        rivals = rivals[first]
    shown = np.concatenate(([a], rivals))
    start = int(low[shown].min())
    laws = _binomials(counts[shown], p, start, int(high[shown].max()))
    j = np.arange(least, min(int(high[a]), k) + 1)
    at_k = _mode_probability(total, k)
    below = laws[1:].cumsum(axis=1)[:, j - start] ** repeats[:, None]
    possible = np.flatnonzero(laws[0, j - start] * below.prod(axis=0) > LEAST * at_k)
    if len(possible) == 0:
        return 0.0
    j = j[possible[0] : possible[-1] + 1]
    if ties == "first":
        rule = _first_sample(positions[a], [positions[int(b)] for b in rivals], j)
    else:
        rule = _fair_draw(min(int(repeats.sum()), k // int(j[0]) - 1) if ties == "random" else 0, len(j))
    others = free + int(counts[rivals] @ repeats)
    spare_low, spare_high = _range(np.array(others), p)
    roots = _roots(min(max(int(spare_high) - k + int(j[-1]), k - int(j[0]) - int(spare_low)), others) + 1)
    # What the free samples add, times the wave that reads off the coefficient of z^(k-j).
    base = _powers(roots, j - k) * (1 - p + p * _half(roots)) ** free
    return float(laws[0, j - start] @ _coefficients(laws[1:], repeats, start, j, roots, base, rule) / at_k)


def _coefficients(
    laws: Array, repeats: Counts, start: int, j: Counts, roots: Waves, base: Waves, rule: TieRule
) -> Array:
    """The coefficient of z^(k-j) in the product over the rivals, averaged over the rule for ties: ``[J]``."""
    base[:, 1:] *= 2  # for the conjugate half of the roots
    result, crowded = np.zeros(len(j)), np.flatnonzero(repeats > 1)
    for tile, below, level in _truncated(laws, start, j, roots):
        factors = np.empty_like(level)
        for share, beaten in rule:
            np.multiply(beaten[:, tile, None], level, out=factors)
            factors += below
            for r in crowded:
                factors[r] **= int(repeats[r])
            result[tile] += share[tile] * (base[tile] * factors.prod(axis=0)).real.sum(axis=1)
    return result / len(roots)


def _fair_draw(most_tied: int, votes: int) -> TieRule:
    """Nodes that integrate polynomials of degree ``most_tied`` in u exactly; the node 0 where none can tie."""
    nodes = _gauss_legendre(most_tied // 2 + 1) if most_tied else [(0.0, 1.0)]
    return [(np.full(votes, weight), np.full((1, votes), u)) for u, weight in nodes]


@lru_cache(maxsize=64)
def _gauss_legendre(nodes: int) -> list[tuple[float, float]]:
    """Nodes in [0, 1] and weights."""
    from scipy.special import roots_legendre

    return [((float(x) + 1) / 2, float(weight) / 2) for x, weight in zip(*roots_legendre(nodes))]


def _first_sample(ours: Counts, theirs: Sequence[Counts], j: Counts) -> TieRule:
    """For every place of a's first sample: P(it is the first | X_a = j), and P(b starts later | X_b = j)."""
    weights = selection_weights(len(ours), j)
    weights[np.arange(weights.shape[1]) > len(ours) - j[:, None]] = 0.0
    place = ours[: weights.shape[1]]
    later = np.empty((len(place), len(theirs), len(j)))
    for b, other in enumerate(theirs):
        before = np.searchsorted(other, place)
        later[:, b] = 1 - np.nan_to_num(pass_at_k(np.full(len(place), len(other)), before, j.tolist()), nan=1.0)
    return list(zip(weights.T, later))


def _truncated(laws: Array, start: int, j: Counts, roots: Waves) -> Iterator[tuple[slice, Waves, Waves]]:
    """sum_{l<j} P(l) z^l and P(j) z^j for consecutive j and half of the roots z, two arrays ``[R, J, M]``, in
    tiles of J."""
    smaller = np.arange(start, int(j[0]))
    so_far = laws[:, : len(smaller)] @ _powers(roots, smaller)
    for tile in tiles(len(j), _TILE // max(so_far.size, 1)):
        level = laws[:, j[tile] - start, None] * _powers(roots, j[tile])
        below = np.empty_like(level)
        for i in range(level.shape[1]):
            below[:, i] = so_far
            so_far = so_far + level[:, i]
        yield tile, below, level


def _roots(length: int) -> Waves:
    """The roots of unity, an odd number of at least ``length``."""
    length += 1 - length % 2
    return np.asarray(np.exp(2j * np.pi / length * np.arange(length)))


def _half(roots: Waves) -> Waves:
    """1 and the roots of the upper half plane; the others are conjugate."""
    return roots[: len(roots) // 2 + 1]


def _powers(roots: Waves, exponents: Counts) -> Waves:
    """z^exponent for half of the roots z: ``[J, M]``."""
    return np.asarray(roots[exponents[:, None] * np.arange(len(_half(roots))) % len(roots)])


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
def _mode_probability(total: int, k: int) -> float:
    """P(Bin(N, k/N) = k)."""
    (low,), (high,) = _range(np.array([total]), k / total)
    return float(_binomials(np.array([total]), k / total, int(low), int(high))[0, k - low])


@lru_cache(maxsize=128)
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
