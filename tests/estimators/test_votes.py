"""Votes over all subsets, in C++ and in numpy: against the subsets, exact integers and convolutions."""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from oracles import Array
from test_selection import ROUNDING, Bits, over_subsets
from ttc_fast.estimators.votes import NoAnswer, Ties, majority_at_k, majority_right, weighted_vote_at_k
from ttc_fast.numerics import extension


@pytest.fixture(scope="module", params=["C++", "numpy"], autouse=True)
def path(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "C++" and extension.module is None:
        pytest.skip("the C++ extension is not built")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            patch.setattr(extension, "module", None)
        yield


def vote(answers: Array, worth: dict[int, float], ties: Ties, no_answer: NoAnswer) -> float:
    """The value of one subset's vote, by counting."""
    if no_answer == "ignore":
        answers = answers[answers >= 0]
    counts = Counter(answers.tolist())
    if not counts:
        return 0.0
    leaders = [a for a in counts if counts[a] == max(counts.values())]  # in the order of first appearance
    if ties == "fail" and len(leaders) > 1:
        return 0.0
    chosen = leaders[:1] if ties == "first" else leaders
    return float(np.mean([0.0 if a < 0 else worth[int(a)] for a in chosen]))


@pytest.mark.parametrize("no_answer", ["fail", "ignore"])
@pytest.mark.parametrize("ties", ["random", "fail", "first"])
@settings(max_examples=60)
@given(data=st.data())
def test_majority_at_k(ties: Ties, no_answer: NoAnswer, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 8))
    answers = np.array(data.draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n)))
    value = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n)))
    worth = {int(a): value[answers == a].mean() for a in answers}
    got = majority_at_k(answers[None], value[None], range(1, n + 1), ties=ties, no_answer=no_answer)[0]
    expected = [over_subsets(n, k, lambda s: vote(answers[s], worth, ties, no_answer)) for k in range(1, n + 1)]
    np.testing.assert_allclose(got, expected, atol=ROUNDING)


def test_majority_of_theory() -> None:
    """Counts (4, 3, 2), the first right: theory 2e."""
    answers = np.repeat([0, 1, 2], [4, 3, 2])[None]
    got = majority_at_k(answers, answers == 0, [1, 3, 4, 6])[0]
    np.testing.assert_allclose(got, [0.444444, 0.5, 0.547619, 0.642857], atol=5e-7)


def polynomial_majority(counts: list[int], k: int, ties: Literal["random", "fail"]) -> float:
    """P(answer 0 wins) with exact integers: theory 2e, the integral over u as one of polynomials."""
    total = Fraction(0)
    for j in range(1, min(counts[0], k) + 1):
        terms = {(0, 0): 1}  # (power of z, power of u) -> coefficient
        for n in counts[1:]:
            factor = {(m, 0): math.comb(n, m) for m in range(min(n, j - 1) + 1)}
            if ties == "random" and n >= j:
                factor[j, 1] = math.comb(n, j)
            product: dict[tuple[int, int], int] = {}
            for (z, u), c in terms.items():
                for (y, v), e in factor.items():
                    if z + y <= k - j:
                        product[z + y, u + v] = product.get((z + y, u + v), 0) + c * e
            terms = product
        ways = sum((Fraction(c, u + 1) for (z, u), c in terms.items() if z == k - j), start=Fraction(0))
        total += math.comb(counts[0], j) * ways
    return float(total / math.comb(sum(counts), k))


@pytest.mark.parametrize("ties", ["random", "fail"])
@pytest.mark.parametrize(
    "counts",
    [
        [12, 11, 10, 10, 9, 9, 8, 8, 7, 6],
        [20, 19, 3],
        [12, 12, 12, 12, 12],
        [30, 1, 1, 1, 1, 1, 25],
        [9, 40, 11],
        [50, 50],
    ],
)
def test_majority_of_larger_banks(counts: list[int], ties: Literal["random", "fail"]) -> None:
    answers = np.repeat(np.arange(len(counts)), counts)[None]
    ks = [1, 2, 3, 7, 16, sum(counts) // 2, sum(counts) - 1, sum(counts)]
    got = majority_at_k(answers, answers == 0, ks, ties=ties)[0]
    np.testing.assert_allclose(got, [polynomial_majority(counts, k, ties) for k in ks], atol=ROUNDING)


def first_majority(owners: Array, k: int) -> Array:
    """P(each answer wins) where the first sample wins a tie, with exact integers: a sum over its place."""
    wins = np.zeros(owners.max() + 1)
    counts = np.bincount(owners[owners >= 0]).tolist()
    for i, j in itertools.product(range(len(owners)), range(1, k + 1)):
        a, after = int(owners[i]), owners[i + 1 :]
        later = [int((after == b).sum()) for b in range(len(counts))]
        if a < 0 or later[a] < j - 1:
            continue
        silent = int((owners < 0).sum())
        ways = [math.comb(silent, m) for m in range(silent + 1)]
        for b, n in enumerate(counts):
            if b != a:
                factor = [math.comb(n, m) for m in range(j)] + [math.comb(later[b], j)]
                ways = [
                    sum(ways[m - y] * factor[y] for y in range(len(factor)) if 0 <= m - y < len(ways))
                    for m in range(min(len(ways) + j, k - j + 1))
                ]
        if len(ways) > k - j:
            wins[a] += float(Fraction(math.comb(later[a], j - 1) * ways[k - j], math.comb(len(owners), k)))
    return wins


@pytest.mark.parametrize(
    "counts", [[9, 9, 8, 8, 8, 2], [5, 5, 5, 4, 4, 4, 4, 3, 3, 3], [14, 13, 13], [20, 19], [17, 16, 2, 2, 2, 1]]
)
@pytest.mark.parametrize("silent", [0, 4])
def test_first_of_tied_answers(counts: list[int], silent: int) -> None:
    n = sum(counts) + silent
    owners = np.random.default_rng(3).permutation(np.repeat(np.arange(-1, len(counts)), [silent, *counts]))
    ks = [1, 2, 3, 7, 16, n - 1, n]
    prompts = np.tile(owners, (len(counts), 1))
    got = majority_at_k(prompts, prompts == np.arange(len(counts))[:, None], ks, ties="first", no_answer="ignore")
    np.testing.assert_allclose(got, np.stack([first_majority(owners, k) for k in ks], axis=1), atol=ROUNDING)


@pytest.mark.parametrize("ties", ["random", "first"])
def test_majority_of_a_million_samples(ties: Ties) -> None:
    """A close race, where the vote of k is that of k independent samples but for O(k/N); odd k cannot tie."""
    if ties == "first" and extension.module is None:
        pytest.skip("minutes in numpy")
    n, p = 10**6, 0.501
    answers = np.random.default_rng(0).permutation(np.arange(n) >= p * n).astype(np.int64)[None]
    got = majority_at_k(answers, answers == 0, [1, 101, 9_999], ties=ties)[0]
    expected = [stats.hypergeom.sf(k // 2, n, round(p * n), k) for k in (1, 101, 9_999)]
    np.testing.assert_allclose(got, expected, atol=1e-9)
    right = majority_right(np.array([round(p * n)]), n, [1, 101, 9_999])[0]
    np.testing.assert_allclose(right, expected, atol=1e-9)


def test_rounding_does_not_build_up_over_a_million_places() -> None:
    """Ties among three answers, by the first sample: one of them wins."""
    if extension.module is None:
        pytest.skip("minutes in numpy")
    answers = np.random.default_rng(5).integers(0, 3, size=(1, 10**6))
    got = majority_at_k(answers, np.ones(answers.shape), [16, 256, 4096], ties="first")
    np.testing.assert_allclose(got, 1.0, atol=ROUNDING)


def convolved_majority(counts: list[int], k: int, ties: Literal["random", "fail"]) -> Array:
    """P(each answer wins) from the definition in votes.py, with convolutions of real numbers: no roots of unity."""
    total, (x, weights) = sum(counts), np.polynomial.legendre.leggauss(len(counts) // 2 + 1)
    rule = list(zip((x + 1) / 2, weights / 2)) if ties == "random" else [(0.0, 1.0)]
    laws = stats.binom.pmf(np.arange(k + 1), np.array(counts)[:, None], k / total)
    wins = np.zeros(len(counts))
    for a, j in itertools.product(range(len(counts)), range(1, k + 1)):
        if laws[a, j] < 1e-18:
            continue
        for u, weight in rule:
            others = np.ones(1)
            for b in range(len(counts)):
                if b != a:
                    others = np.convolve(others, np.append(laws[b, :j], u * laws[b, j]))[: k - j + 1]
            if len(others) > k - j:
                wins[a] += weight * laws[a, j] * others[k - j]
    return np.asarray(wins / stats.binom.pmf(k, total, k / total))


def wins_of(counts: list[int], ks: list[int], ties: Ties) -> Array:
    """P(each answer wins) ``[A, K]``, each from its own right answer."""
    answers = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    answers = np.tile(answers, (len(counts), 1))
    return majority_at_k(answers, answers == np.arange(len(counts))[:, None], ks, ties=ties)


NEAR = [431, 425, 420, 416, 411, 408, 404, 399, 394, 388]
SPREAD = [1210, 803, 640, 511, 380, 251, 160, 90, 40, 11]
"""4,096 samples."""


@pytest.mark.parametrize("ties", ["random", "fail"])
@pytest.mark.parametrize("counts", [NEAR, SPREAD, [2048, 2048], [1500, 1499, 1000, 97]])
def test_majority_of_4096_samples(counts: list[int], ties: Literal["random", "fail"]) -> None:
    ks = [2, 16, 128, 1024]
    expected = np.stack([convolved_majority(counts, k, ties) for k in ks], axis=1)
    np.testing.assert_allclose(wins_of(counts, ks, ties), expected, atol=ROUNDING)


@pytest.mark.parametrize("counts", [NEAR, SPREAD, [2047, 2049], [41] * 90 + [406], list(range(1, 90)), [4096]])
def test_one_answer_wins(counts: list[int]) -> None:
    ks = [2**i for i in range(1, 12)]
    np.testing.assert_allclose(wins_of(counts, ks, "random").sum(axis=0), 1.0, atol=ROUNDING)


@pytest.mark.parametrize("counts", [NEAR, SPREAD, [2047, 2049]])
def test_one_answer_wins_where_the_first_does(counts: list[int]) -> None:
    np.testing.assert_allclose(wins_of(counts, [2, 64, 2048], "first").sum(axis=0), 1.0, atol=ROUNDING)


@pytest.mark.parametrize("counts", [NEAR, SPREAD, [1500, 1499, 1000, 97], [24] * 40 + [64], [1] * 90 + [2] * 30])
def test_first_of_tied_answers_in_both_languages(counts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """C++ takes differences from place to place, numpy the products over all rivals at each place."""
    if extension.module is None:
        pytest.skip("compares with C++")
    chance = np.random.default_rng(1)
    answers = chance.permutation(np.repeat(np.arange(-1, len(counts)), [100, *counts]))[None]
    value = chance.normal(size=len(counts) + 1)[answers]
    ks = [2, 5, 16, 64, 256, answers.size // 2]
    got = majority_at_k(answers, value, ks, ties="first", no_answer="ignore")
    monkeypatch.setattr(extension, "module", None)
    expected = majority_at_k(answers, value, ks, ties="first", no_answer="ignore")
    np.testing.assert_allclose(got, expected, atol=ROUNDING * np.abs(value).max())


@pytest.mark.parametrize("ties", ["random", "fail", "first"])
def test_threads_change_nothing(ties: Ties, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = np.random.default_rng(0).integers(0, 4, size=(50, 20))
    shares: list[float] = []
    many = majority_at_k(answers, answers == 0, [2, 5, 8], ties=ties, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert np.array_equal(many, majority_at_k(answers, answers == 0, [2, 5, 8], ties=ties))


def test_an_interrupt_ends_the_votes() -> None:
    """Of the prompts after the first, no more are begun than cores are busy: all would take minutes in numpy."""

    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    answers = np.random.default_rng(0).integers(0, 10, size=(1000, 4096))
    with pytest.raises(KeyboardInterrupt):
        majority_at_k(answers, answers == 0, [64], ties="first", progress=interrupt)


@given(Bits)
def test_majority_right(votes: list[bool]) -> None:
    n, ks = len(votes), range(1, len(votes) + 1)
    got = majority_right([sum(votes)], n, ks)[0]
    ayes = np.array(votes)
    expected = [over_subsets(n, k, lambda s: (np.sign(2 * ayes[s].mean() - 1) + 1) / 2) for k in ks]
    np.testing.assert_allclose(got, expected, atol=ROUNDING)


def test_majority_gets_worse_on_mixed_difficulty() -> None:
    """Half of the prompts p = 0.9, half 0.45 (arXiv 2403.02419): F(1, 3, 5, 7, 9) as stated in the issue, from
    banks whose counts are exactly those shares; without replacement, N = 20,000 leaves 4 decimals."""
    answers = np.stack([np.arange(20_000) >= p * 20_000 for p in (0.9, 0.45)]).astype(np.int64)
    got = majority_at_k(answers, answers == 0, [1, 3, 5, 7, 9]).mean(axis=0)
    np.testing.assert_allclose(got, [0.675, 0.6986, 0.6992, 0.6945, 0.6888], atol=1e-4)
    assert np.argmax(got) == 2


def test_weighted_vote() -> None:
    """With equal weights it is the majority vote, within 5 Monte Carlo errors (20 comparisons: 1 in 10^5)."""
    chance = np.random.default_rng(0)
    answers = chance.integers(-1, 3, size=(5, 12))
    exact = majority_at_k(answers, answers == 0, [1, 3, 6, 12], no_answer="ignore")
    got, error = weighted_vote_at_k(answers, np.ones((5, 12)), answers == 0, [1, 3, 6, 12], subsets=400)
    assert (np.abs(got - exact) <= 5 * error + ROUNDING).all()
    assert (error[:, -1] == 0).all()
    heavy = weighted_vote_at_k([[0, 1, 1]], [[3.0, 1.0, 1.0]], [[1.0, 0.0, 0.0]], [3])
    assert heavy[0].item() == 1.0
    again = weighted_vote_at_k(answers, np.ones((5, 12)), answers == 0, [1, 3, 6, 12], subsets=400)
    assert np.array_equal(got, again[0])
