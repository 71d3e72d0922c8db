"""The law of a vote, in C++ and in numpy: against exact integers, known laws, and one against the other."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from estimators_problems import ROUNDING
from oracles import Array
from ttc_fast.estimators.votes import Ties, majority_at_k, majority_correct_at_k
from ttc_fast.numerics import extension

NATIVE = extension.module
in_each_language = pytest.mark.usefixtures("implementation")
in_both_languages = pytest.mark.skipif(NATIVE is None, reason="the C++ extension is not built")


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


@in_each_language
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


def first_majority(answers: Array, k: int) -> Array:
    """P(each answer wins) where the first sample wins a tie, with exact integers: a sum over its place."""
    wins = np.zeros(answers.max() + 1)
    counts = np.bincount(answers[answers >= 0]).tolist()
    for i, j in itertools.product(range(len(answers)), range(1, k + 1)):
        a, after = int(answers[i]), answers[i + 1 :]
        later = [int((after == b).sum()) for b in range(len(counts))]
        if a < 0 or later[a] < j - 1:
            continue
        abstentions = int((answers < 0).sum())
        ways = [math.comb(abstentions, m) for m in range(abstentions + 1)]
        for b, n in enumerate(counts):
            if b != a:
                factor = [math.comb(n, m) for m in range(j)] + [math.comb(later[b], j)]
                ways = [
                    sum(ways[m - y] * factor[y] for y in range(len(factor)) if 0 <= m - y < len(ways))
                    for m in range(min(len(ways) + j, k - j + 1))
                ]
        if len(ways) > k - j:
            wins[a] += float(Fraction(math.comb(later[a], j - 1) * ways[k - j], math.comb(len(answers), k)))
    return wins


@in_each_language
@pytest.mark.parametrize(
    "counts", [[9, 9, 8, 8, 8, 2], [5, 5, 5, 4, 4, 4, 4, 3, 3, 3], [14, 13, 13], [20, 19], [17, 16, 2, 2, 2, 1]]
)
@pytest.mark.parametrize("abstentions", [0, 4])
def test_first_of_tied_answers(counts: list[int], abstentions: int) -> None:
    n = sum(counts) + abstentions
    answers = np.random.default_rng(3).permutation(np.repeat(np.arange(-1, len(counts)), [abstentions, *counts]))
    ks = [1, 2, 3, 7, 16, n - 1, n]
    prompts = np.tile(answers, (len(counts), 1))
    got = majority_at_k(prompts, prompts == np.arange(len(counts))[:, None], ks, ties="first", no_answer="ignore")
    np.testing.assert_allclose(got, np.stack([first_majority(answers, k) for k in ks], axis=1), atol=ROUNDING)


@pytest.mark.parametrize("ties", ["random", "first"])
def test_majority_of_a_million_samples(ties: Ties, implementation: str) -> None:
    """A close race, where the vote of k is that of k independent samples but for O(k/N); odd k cannot tie."""
    if implementation == "numpy":
        pytest.skip("minutes in numpy")
    n, p = 10**6, 0.501
    answers = np.random.default_rng(0).permutation(np.arange(n) >= p * n).astype(np.int64)[None]
    got = majority_at_k(answers, answers == 0, [1, 101, 9_999], ties=ties)[0]
    expected = [stats.hypergeom.sf(k // 2, n, round(p * n), k) for k in (1, 101, 9_999)]
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_majority_correct_of_a_million_samples() -> None:
    n, correct, ks = 10**6, 501_000, [1, 101, 9_999]
    got = majority_correct_at_k(correct, n, ks)
    np.testing.assert_allclose(got, [stats.hypergeom.sf(k // 2, n, correct, k) for k in ks], atol=1e-9)


def test_rounding_does_not_build_up_over_a_million_places(implementation: str) -> None:
    """Ties among three answers, by the first sample: one of them wins."""
    if implementation == "numpy":
        pytest.skip("minutes in numpy")
    answers = np.random.default_rng(5).integers(0, 3, size=(1, 10**6))
    got = majority_at_k(answers, np.ones(answers.shape), [16, 256, 4096], ties="first")
    np.testing.assert_allclose(got, 1.0, atol=ROUNDING)


def wins_of(counts: list[int], ks: list[int], ties: Ties) -> Array:
    """P(each answer wins) ``[A, K]``, each from its own right answer."""
    answers = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    answers = np.tile(answers, (len(counts), 1))
    return majority_at_k(answers, answers == np.arange(len(counts))[:, None], ks, ties=ties)


NEAR = [431, 425, 420, 416, 411, 408, 404, 399, 394, 388]
SPREAD = [1210, 803, 640, 511, 380, 251, 160, 90, 40, 11]
"""4,096 samples."""


@pytest.mark.parametrize("counts", [NEAR, SPREAD, [2047, 2049], [41] * 90 + [406], list(range(1, 90)), [4096]])
def test_one_answer_wins(counts: list[int], implementation: str) -> None:
    if implementation == "numpy":  # an eighth of the samples, or of the answers
        counts = [n // 8 for n in counts if n >= 8] if len(counts) < 20 else counts[::8]
    ks = [2**i for i in range(1, 12) if 2**i <= sum(counts)]
    np.testing.assert_allclose(wins_of(counts, ks, "random").sum(axis=0), 1.0, atol=ROUNDING)


@pytest.mark.parametrize("counts", [NEAR, SPREAD, [2047, 2049]])
def test_one_answer_wins_where_the_first_does(counts: list[int], implementation: str) -> None:
    if implementation == "numpy":
        counts = [n // 16 for n in counts]
    ks = [k for k in (2, 64, 2048) if k <= sum(counts)]
    np.testing.assert_allclose(wins_of(counts, ks, "first").sum(axis=0), 1.0, atol=ROUNDING)


def in_both(
    counts: list[int], abstentions: int, ks: list[int], ties: Ties, monkeypatch: pytest.MonkeyPatch
) -> tuple[Array, Array]:
    """maj@k with a random value of every answer, at most 1, in C++ and in numpy."""
    rng = np.random.default_rng(1)
    answers = rng.permutation(np.repeat(np.arange(-1, len(counts)), [abstentions, *counts]))[None]
    value = rng.normal(size=len(counts) + 1)
    value = (value / np.abs(value).max())[answers]
    monkeypatch.setattr(extension, "module", NATIVE)
    native = majority_at_k(answers, value, ks, ties=ties, no_answer="ignore")
    monkeypatch.setattr(extension, "module", None)
    return native, majority_at_k(answers, value, ks, ties=ties, no_answer="ignore")


@in_both_languages
@pytest.mark.parametrize("ties", ["random", "fail"])
@pytest.mark.parametrize("counts", [NEAR, SPREAD, [2048, 2048], [1500, 1499, 1000, 97]])
def test_4096_samples_in_both_languages(counts: list[int], ties: Ties, monkeypatch: pytest.MonkeyPatch) -> None:
    """C++ multiplies Fourier transforms, numpy convolves."""
    native, plain = in_both(counts, 0, [2, 16, 128, 512], ties, monkeypatch)
    np.testing.assert_allclose(native, plain, atol=ROUNDING)


@in_both_languages
@pytest.mark.parametrize("ties", ["random", "fail", "first"])
@pytest.mark.parametrize("counts", [[25, 24, 24, 23], [60, 30, 9, 1], [24] * 10 + [40], [1] * 30 + [2] * 10])
def test_every_rule_in_both_languages(counts: list[int], ties: Ties, monkeypatch: pytest.MonkeyPatch) -> None:
    """With samples that do not vote. Where the first sample wins, C++ takes differences from place to place, numpy
    adds up places."""
    abstentions = sum(counts) // 8
    ks = [2, 5, 16, sum(counts) // 2, sum(counts) + abstentions - 1]
    native, plain = in_both(counts, abstentions, ks, ties, monkeypatch)
    np.testing.assert_allclose(native, plain, atol=ROUNDING)


@pytest.mark.slow
@in_both_languages
@pytest.mark.parametrize("counts", [NEAR, SPREAD, [1500, 1499, 1000, 97], [24] * 40 + [64], [1] * 90 + [2] * 30])
def test_first_of_large_banks_in_both_languages(counts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    native, plain = in_both(counts, 100, [2, 5, 16, 64], "first", monkeypatch)
    np.testing.assert_allclose(native, plain, atol=ROUNDING)
