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
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .estimators import Array, bank, integers, pass_at_k, selection_weights, sizes

Counts: TypeAlias = NDArray[np.int64]
Ties: TypeAlias = Literal["random", "fail", "first"]
NoAnswer: TypeAlias = Literal["fail", "ignore"]

LEAST = 1e-19
"""Events below this probability are left out."""


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
    result = np.full((len(codes), len(ks)), np.nan)
    for prompt, (code, worth) in enumerate(zip(codes, values)):
        result[prompt] = _majority_of_prompt(code, worth, ks, ties, no_answer)
        progress((prompt + 1) / len(codes))
    return result


def _majority_of_prompt(code: NDArray[np.int64], value: Array, ks: NDArray[np.int64], ties: Ties, none: str) -> Array:
    """One row of :func:`majority_at_k`."""
    silent = code < 0
    if none == "fail":  # one more answer, without worth
        code, value = np.where(silent, -1, code), np.where(silent, 0.0, value)
        silent = np.zeros(len(code), dtype=bool)
    _, inverse, counts = np.unique(code[~silent], return_inverse=True, return_counts=True)
    worth = np.bincount(inverse, weights=value[~silent], minlength=len(counts)) / counts
    places = [np.flatnonzero(~silent)[inverse == a] for a in range(len(counts))] if ties == "first" else []
    result = np.full(len(ks), np.nan)
    for column, k in enumerate(ks.tolist()):
        if k <= len(code):
            wins = win_probability(counts, int(silent.sum()), k, ties, places, worth != 0)
            result[column] = float(wins @ worth)
    return result


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
    if k == total:
        leaders = np.flatnonzero(counts == counts.max()) if len(counts) else np.zeros(0, dtype=np.int64)
        if ties == "first" and len(leaders):
            leaders = leaders[[np.argmin([positions[a][0] for a in leaders])]]
        if ties != "fail" or len(leaders) == 1:
            wins[leaders] = 1 / max(len(leaders), 1)
        return np.asarray(wins * wanted)
    bank = _Bank(counts, silent, k, total)
    seen: dict[int, float] = {}
    for a in np.flatnonzero(wanted):
        n = int(counts[a])
        if ties == "first":
            wins[a] = bank.wins(a, ties, positions)
        else:  # answers of equal count are alike
            if n not in seen:
                seen[n] = bank.wins(a, ties, positions)
            wins[a] = seen[n]
    return wins


class _Law(NamedTuple):
    """Binomial probabilities of ``low``, ``low + 1``, ...; those left out are negligible."""

    low: int
    pmf: Array

    def at(self, x: Counts) -> Array:
        inside = (x >= self.low) & (x < self.low + len(self.pmf))
        return np.where(inside, self.pmf[np.clip(x - self.low, 0, len(self.pmf) - 1)], 0.0)


class _Bank:
    """The binomials of one bank and budget."""

    def __init__(self, counts: Counts, silent: int, k: int, total: int) -> None:
        self.counts, self.k, self.total = counts, k, total
        self.p = k / total
        self.laws = {n: _binomial(n, self.p) for n in {*counts.tolist(), total}}
        self.silent = silent
        self.at_k = float(self.laws[total].at(np.array(k)))

    def wins(self, a: int, ties: Ties, positions: Sequence[Counts]) -> float:
        """P(a wins)."""
        others = np.delete(np.arange(len(self.counts)), a)
        j, chance = self._votes(a, others)
        if len(j) == 0:
            return 0.0
        # An answer that can never reach the least j is as free as the samples that do not vote.
        rivals = np.array([b for b in others if self._highest(b) >= j[0]], dtype=np.int64)
        free = self.total - int(self.counts[a]) - int(self.counts[rivals].sum())
        if ties == "first":
            return self._sum(j, chance, list(rivals), [1] * len(rivals), free, self._first(a, rivals, j, positions))
        sizes, first, repeats = np.unique(self.counts[rivals], return_index=True, return_counts=True)
        most_tied = min(len(rivals), self.k // int(j[0]) - 1) if ties == "random" else 0
        nodes = _uniform_nodes(most_tied) if most_tied else ((0.0, 1.0),)
        rule = ((np.full(len(j), weight), [np.full(len(j), u)] * len(sizes)) for u, weight in nodes)
        return self._sum(j, chance, list(rivals[first]), repeats.tolist(), free, rule)

    def _highest(self, b: int) -> int:
        law = self.laws[int(self.counts[b])]
        return law.low + len(law.pmf) - 1

    def _votes(self, a: int, others: Counts) -> tuple[Counts, Array]:
        """The numbers of votes j with which a can win, and P(X_a = j), sum not yet conditioned."""
        law = self.laws[int(self.counts[a])]
        j = law.low + np.arange(len(law.pmf))
        chance = law.pmf * _binomial(self.total - int(self.counts[a]), self.p).at(self.k - j) / self.at_k
        if len(others):
            strongest = self.laws[int(self.counts[others].max())]
            below = np.cumsum(strongest.pmf)[np.clip(j - strongest.low, 0, len(strongest.pmf) - 1)]
            chance = chance * np.where(j < strongest.low, 0.0, below) / self.at_k
        least = max(1, -(-(self.k - self.silent) // len(self.counts)))  # the most votes are at least the mean
        possible = np.flatnonzero((chance > LEAST) & (j >= least))
        if len(possible) == 0:
            return j[:0], law.pmf[:0]
        kept = slice(possible[0], possible[-1] + 1)
        return j[kept], law.pmf[kept]

    def _first(
        self, a: int, rivals: Counts, j: Counts, positions: Sequence[Counts]
    ) -> Iterator[tuple[Array, list[Array]]]:
        """For every place of a's first sample: P(it is the first | X_a = j), and P(b starts later | X_b = j)."""
        n = int(self.counts[a])
        weights = selection_weights(n, j)
        weights = np.where(np.arange(weights.shape[1]) <= n - j[:, None], weights, 0.0)
        place = positions[a][: weights.shape[1]]
        later = []
        for b in rivals:
            size = int(self.counts[b])
            before = np.searchsorted(positions[b], place)
            later.append(1 - np.nan_to_num(pass_at_k(np.full(len(place), size), before, j.tolist()), nan=1.0))
        for t in range(len(place)):
            yield weights[:, t], [u[t] for u in later]

    def _sum(
        self,
        j: Counts,
        chance: Array,
        rivals: list[int],
        repeats: list[int],
        free: int,
        rule: Iterator[tuple[Array, list[Array]]],
    ) -> float:
        """Sum over j and over the rule for ties, whose items are a weight ``[J]`` and the u_b ``[J]``."""
        wave, weight = self._waves(j, free + int(self.counts[rivals] @ np.array(repeats, dtype=np.int64)))
        below, level = [], []
        for b in rivals:
            below_b, level_b = _truncated(self.laws[int(self.counts[b])], j, wave)
            below.append(below_b)
            level.append(level_b)
        # conj(wave)^(k-j), and what the free samples add
        base = np.conj(_powers(wave, self.k - j)) * (1 - self.p + self.p * wave) ** free * weight
        total = np.zeros(len(j))
        for share, beaten in rule:
            product = base
            for below_b, level_b, u, times in zip(below, level, beaten, repeats):
                factor = below_b + u[:, None] * level_b
                product = product * (factor if times == 1 else factor**times)
            total += share * product.real.sum(axis=1)
        return float(chance @ total / self.at_k)

    def _waves(self, j: Counts, others: int) -> tuple[NDArray[np.complex128], Array]:
        """The frequencies e^(2 pi i m / M), m <= M/2, and their weights: M odd, and so long that a sum of the
        ``others`` samples that is off by M has a negligible probability."""
        low, high = _range(others, self.p)
        length = min(max(high - (self.k - int(j[-1])), self.k - int(j[0]) - low), others) + 1
        length += 1 - length % 2
        m = np.arange(length // 2 + 1)
        return np.exp(2j * np.pi / length * m), np.where(m == 0, 1.0, 2.0) / length


def _truncated(law: _Law, j: Counts, wave: NDArray[np.complex128]) -> tuple[NDArray[np.complex128], ...]:
    """sum_{l<j} P(l) z^l and P(j) z^j for every j and frequency z: two arrays ``[J, M]``."""
    l = law.low + np.arange(len(law.pmf) + 1)  # noqa: E741  # one more for "all of them"
    pmf = np.append(law.pmf, 0.0)
    terms = pmf[:, None] * _powers(wave, l)
    sums = np.cumsum(terms, axis=0)
    last = np.clip(j - 1 - law.low, 0, len(law.pmf))
    below = np.where((j - 1 >= law.low)[:, None], sums[last], 0.0)
    here = np.clip(j - law.low, 0, len(law.pmf))
    return below, np.where((j >= law.low)[:, None], terms[here], 0.0)


def _powers(wave: NDArray[np.complex128], exponents: Counts) -> NDArray[np.complex128]:
    """wave^exponent for consecutive or falling exponents ``[J, M]``."""
    return np.asarray(wave ** exponents[:, None])


def _range(n: int, p: float) -> tuple[int, int]:
    """Where Bin(n, p) lies but for a probability below 1e-18 (Chernoff)."""
    mean, deviation = n * p, np.sqrt(n * p * (1 - p))
    return max(0, int(mean - 9 * deviation) - 2), min(n, int(mean + 9 * deviation) + 20)


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


@lru_cache(maxsize=4096)
def _binomial(n: int, p: float) -> _Law:
    """Bin(n, p) by the ratios of neighbours."""
    low, high = _range(n, p)
    x = np.arange(low, high)
    ratio = np.log((n - x) / (x + 1) * (p / (1 - p)))
    return _Law(low, _from_ratios(ratio))


@lru_cache(maxsize=64)
def _uniform_nodes(degree: int) -> tuple[tuple[float, float], ...]:
    """Nodes and weights that integrate polynomials of ``degree`` over [0, 1] exactly."""
    from scipy.special import roots_legendre

    nodes, weights = roots_legendre(degree // 2 + 1)
    return tuple(((float(u) + 1) / 2, float(w) / 2) for u, w in zip(nodes, weights))
