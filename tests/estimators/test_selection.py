"""Estimators over all subsets, against the subsets themselves and against exact laws."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from estimators_problems import ROUNDING, bits, over_subsets
from oracles import ALPHA
from ttc_fast.estimators.selection import best_of_k, mean_of_k, pass_at_k, selection_weights


@given(bits)
def test_pass_at_k(correct: list[bool]) -> None:
    n, ks = len(correct), range(1, len(correct) + 1)
    got = pass_at_k([n], [sum(correct)], ks)[0]
    expected = [over_subsets(n, k, lambda s: any(correct[i] for i in s)) for k in ks]
    np.testing.assert_allclose(got, expected, atol=ROUNDING)


def test_pass_at_k_of_a_million_samples() -> None:
    """Against exact fractions: 1 - prod (n-c-i)/(n-i); relative, for small probabilities lose their digits first."""
    n = 10**6
    for c in (1, 3, 10**3):
        got = pass_at_k([n], [c], [1, 2, 1000, n - c + 1, n])[0]
        for k, value in zip([1, 2, 1000], got):
            missed = math.prod((Fraction(n - c - i, n - i) for i in range(k)), start=Fraction(1))
            assert value == pytest.approx(float(1 - missed), rel=1e-10)
        assert got[3] == got[4] == 1.0
    assert pass_at_k([n], [0], [n])[0, 0] == 0.0
    assert np.isnan(pass_at_k([3], [1], [4])[0, 0])


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=8))
def test_best_of_k(samples: list[tuple[int, float]]) -> None:
    """Few different scores, so that ties are common: the best of a subset is a fair draw among its best."""
    score, value = (np.array(column, dtype=float) for column in zip(*samples))
    n = len(samples)

    def best(subset: list[int]) -> float:
        return float(value[subset][score[subset] == score[subset].max()].mean())

    got = best_of_k(score[None], value[None], range(1, n + 1))[0]
    np.testing.assert_allclose(got, [over_subsets(n, k, best) for k in range(1, n + 1)], atol=ROUNDING)


@pytest.mark.parametrize("samples", [1, 5, 300, 10**5])
def test_selection_weights(samples: int) -> None:
    for k in {1, 2, samples // 3 + 1, samples}:
        if k <= samples:
            weights = selection_weights(samples, [k])[0]
            assert weights.sum() == pytest.approx(1.0, abs=1e-11)
            assert weights[0] == pytest.approx(k / samples)


def test_best_of_k_is_the_scalar_law() -> None:
    """One coefficient y ~ N(b, s^2), scored by its own error y^2: the exact integral of theory 2a, which tends to
    pi s^2 e^(b^2/s^2) / k^2 (arXiv 2512.19905): slope -2. 400 banks of 4,096: t tests at ALPHA."""
    b, s, ks = 0.5, 1.0, [32, 64, 128, 4096]
    r = np.linspace(0, 8, 2_000_001)
    density = stats.norm.pdf(r, b, s) + stats.norm.pdf(-r, b, s)
    further = stats.norm.sf(r, b, s) + stats.norm.cdf(-r, b, s)
    law = [float(integrate.trapezoid(k * further ** (k - 1) * r**2 * density, r)) for k in ks]
    assert law[3] == pytest.approx(np.pi * s**2 * np.exp(b**2 / s**2) / 4096**2, rel=2e-3)
    y = np.random.default_rng(0).normal(b, s, size=(400, 4096))
    values = best_of_k(-(y**2), y**2, ks)
    for column in range(3):
        assert stats.ttest_1samp(values[:, column], law[column]).pvalue > ALPHA
    slope = np.polyfit(np.log(ks[:3]), np.log(values[:, :3].mean(axis=0)), 1)[0]
    assert slope == pytest.approx(-2.0, abs=0.1)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=7), st.floats(-1, 1))
def test_mean_of_k(samples: list[float], aim: float) -> None:
    w, n = np.array(samples), len(samples)
    got = mean_of_k([((w - aim) ** 2).mean()], [(w.mean() - aim) ** 2], n, range(1, n + 1))[0]
    expected = [over_subsets(n, k, lambda s: (w[s].mean() - aim) ** 2) for k in range(1, n + 1)]
    np.testing.assert_allclose(got, expected, atol=ROUNDING)


def test_pass_at_k_is_unbiased_for_fresh_samples() -> None:
    """Over 4,000 banks of 12 fresh samples the estimates average to the truth: a t test at ALPHA."""
    correct = np.random.default_rng(0).binomial(12, 0.4, size=4000)
    passed = pass_at_k(np.full(4000, 12), correct, [5])[:, 0]
    assert stats.ttest_1samp(passed, 1 - 0.6**5).pvalue > ALPHA


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="budgets: expected integers of at least 1"):
        pass_at_k([3], [1], [0])
    with pytest.raises(TypeError, match="correct: expected integers, got dtype float64"):
        pass_at_k([3], [1.5], [1])
    with pytest.raises(ValueError, match="correct: expected 0 <= correct <= samples"):
        pass_at_k([3], [4], [1])
    with pytest.raises(ValueError, match=r"value: expected shape \[1, 2\] as score"):
        best_of_k([[1.0, 2.0]], [[1.0]], [1])
    with pytest.raises(ValueError, match="score: expected numbers, got NaN"):
        best_of_k([[float("nan")]], [[1.0]], [1])
