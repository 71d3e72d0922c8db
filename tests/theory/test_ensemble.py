"""Averages over prompts: published values, independent recursions, and identities, to 1e-9 or exactly."""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from ttc_fast import GaussianNoise, LinearAttention, LinearRegression
from ttc_fast.tasks.quadratic import quadratic
from ttc_fast.theory.allocation import Split, best_split, bias_and_variance, iso_error
from ttc_fast.theory.ensemble import (
    best_steps,
    error_over_prompts,
    exact_curve,
    limit_contraction,
    limit_noise_sum,
    never_overthinks_from,
)
from ttc_fast.theory.gaussian import error_of_mean, gaussian_law
from ttc_fast.theory.moments import trace_moments

HALF = Fraction(1, 2)


def moment_by_parts(n: int, d: int, powers: tuple[int, ...]) -> int:
    """E prod tr W^k by Gaussian integration by parts: the recursion over partitions of theory 2b."""

    @functools.cache
    def expectation(powers: tuple[int, ...]) -> int:
        powers = tuple(sorted(powers))
        zeros = powers.count(0)
        if zeros:
            return int(d**zeros * expectation(powers[zeros:])) if len(powers) > zeros else d**zeros
        k, rest = powers[0], powers[1:]
        total = (n + k - 1) * expectation((k - 1, *rest))
        total += sum(expectation((j + 1, k - 2 - j, *rest)) for j in range(k - 1))
        for i, power in enumerate(rest):
            total += 2 * power * expectation((k + power - 1, *rest[:i], *rest[i + 1 :]))
        return total

    return expectation(powers)


@pytest.mark.parametrize(("n", "d"), [(10, 4), (3, 5), (1, 1), (2, 1), (1, 7)])
def test_moments_equal_the_recursion_over_partitions(n: int, d: int) -> None:
    moments = trace_moments(n, d, 9)
    assert moments == [Fraction(moment_by_parts(n, d, (k,)), d * n**k) for k in range(10)]


@pytest.mark.parametrize(("n", "d"), [(12, 4), (5, 9)])
def test_first_moments(n: int, d: int) -> None:
    assert trace_moments(n, d, 4)[2:] == [
        1 + Fraction(d + 1, n),
        1 + Fraction(3 * (d + 1), n) + Fraction(d * d + 3 * d + 4, n**2),
        1 + Fraction(6 * (d + 1), n) + Fraction(6 * d * d + 17 * d + 21, n**2)
        + Fraction(d**3 + 6 * d * d + 21 * d + 20, n**3),
    ]  # fmt: skip


def test_published_values() -> None:
    curve = exact_curve(10, 4, HALF, HALF, 3)
    assert curve.bias == (Fraction(1), Fraction(3, 8), Fraction(1777, 8000), Fraction(60253, 400000))
    assert float(curve.error(3, 5)) == pytest.approx(0.23048875, abs=1e-9)
    assert exact_curve(12, 4, HALF, 0, 3).label[3] == Fraction(23017, 442368)


@pytest.mark.parametrize(("n", "d"), [(10, 4), (64, 16), (3, 7)])
def test_one_step_optimum(n: int, d: int) -> None:
    """E |w_1 - w*|^2 is least at eta = n / (n + d + 1), where it is d (d + 1) / (n + d + 1)."""
    best = Fraction(n, n + d + 1)
    error = [d * exact_curve(n, d, best + shift, 0, 1).bias[1] for shift in (0, Fraction(1, 1000), Fraction(-1, 1000))]
    assert error[0] == Fraction(d * (d + 1), n + d + 1)
    assert min(error[1:]) > error[0]


def test_one_coefficient_is_a_chi_square() -> None:
    """d = 1: S = chi^2_n / n, E S^k = prod (n + 2j) / n^k."""
    assert trace_moments(5, 1, 20)[20] == Fraction(math.prod(5 + 2 * j for j in range(20)), 5**20)


def test_long_chains_are_exact() -> None:
    """T = 32: no cancellation, B_T > 0 and log-convex; the heavy tail makes B_T grow."""
    bias = exact_curve(40, 20, Fraction(40, 61), 0, 32).bias
    assert [float(bias[t]) for t in (4, 8, 10, 12)] == pytest.approx([0.09693, 0.05872, 0.1072, 0.4118], rel=1e-3)
    assert all(bias[t - 1] * bias[t + 1] >= bias[t] ** 2 for t in range(1, 32))
    assert bias[32] > 10**6


def test_schedules_of_noise() -> None:
    curve = exact_curve(10, 4, HALF, [Fraction(1, 2), Fraction(1, 3), 0], 3)
    B = curve.bias
    assert curve.spread[3] == Fraction(1, 4) * B[2] + Fraction(1, 9) * B[1]
    assert curve.spread[2] == Fraction(1, 4) * B[1] + Fraction(1, 9) * B[0]
    with pytest.raises(ValueError, match="noise_scale: expected one number for each of 3 steps, got 1"):
        exact_curve(10, 4, HALF, [1], 3)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 3.0])
def test_limit_by_quadrature(gamma: float) -> None:
    """The Marchenko-Pastur density by the trapezoid rule in the angle, and its mass at 0."""
    theta = (np.arange(20000) + 0.5) * np.pi / 20000
    lam = 1 + gamma + 2 * np.sqrt(gamma) * np.cos(theta)
    # (2 / pi) sin^2 / lambda dtheta, for gamma > 1 with mass 1 / gamma in the bulk
    weight = 2 * np.sin(theta) ** 2 / lam / 20000
    for eta in (0.3, 1 / (1 + gamma)):
        B = limit_contraction(gamma, eta, 12)
        for steps in (0, 1, 5, 12):
            value = (weight * (1 - eta * lam) ** (2 * steps)).sum() + max(0.0, 1 - 1 / gamma)
            assert B[steps] == pytest.approx(value, rel=1e-9)


def test_limit_identities() -> None:
    B = limit_contraction(1.0, 0.5, 40)
    for steps in range(41):
        assert B[steps] == pytest.approx(math.comb(2 * steps, steps) / 4**steps, abs=1e-9)
        assert B[:steps].sum() == pytest.approx(2 * steps * B[steps], abs=1e-9)
    assert limit_noise_sum(0.5, 1 / 1.5) == pytest.approx(2.0, abs=1e-9)
    for gamma, eta in ((0.3, 0.5), (0.5, 0.6), (0.0, 0.4)):
        total = limit_contraction(gamma, eta, 3000 if gamma else 200).sum()
        assert limit_noise_sum(gamma, eta) == pytest.approx(total, abs=1e-9)
    B = limit_contraction(2.0, 1 / 3, 3000)
    assert B[-1] == pytest.approx(0.5, abs=1e-9)
    assert (B - 0.5).sum() == pytest.approx(1.0, abs=1e-9)
    rho, steps = 4 * 0.5 / 1.5**2, 2000  # B_T ~ rho^T T^-3/2 (1 + gamma) / (sqrt(pi) (1 - gamma)^2)
    assert limit_contraction(0.5, 1 / 1.5, steps)[steps] == pytest.approx(
        rho**steps * steps**-1.5 * 1.5 / (math.sqrt(math.pi) * 0.25), rel=0.02
    )
    with pytest.raises(ValueError, match="step_size: expected gamma < 1 and a step from 0"):
        limit_noise_sum(1.0, 0.5)


def test_finite_n_tends_to_the_limit() -> None:
    exact = exact_curve(4000, 2000, Fraction(2, 3), 0, 4).bias
    np.testing.assert_allclose([float(v) for v in exact], limit_contraction(0.5, 2 / 3, 4), rtol=2e-3)


def test_overthinking_thresholds() -> None:
    """At gamma = 1, eta = 1/2: T* = ceil(R N / (2 sigma^2)) - 1 and the error C(2T, T) 4^-T (R + 2 T sigma^2 / N)."""
    for gamma in (0.2, 0.5):
        B, sigma = limit_contraction(gamma, 1 / (1 + gamma), 3000), 3.0
        threshold = never_overthinks_from(gamma, sigma)
        assert best_steps(B[:200], sigma, math.ceil(threshold)) is None
        assert best_steps(B, sigma, math.floor(0.98 * threshold)) is not None
    B = limit_contraction(1.0, 0.5, 400)
    for samples in (1, 7, 64, 100):
        best = best_steps(B, 0.7, samples)
        assert best == max(0, math.ceil(samples / (2 * 0.7**2)) - 1)
        errors = [math.comb(2 * t, t) / 4**t * (1 + 2 * t * 0.7**2 / samples) for t in range(400)]
        assert errors[best] == pytest.approx(min(errors), rel=1e-12)
        assert errors[20] == pytest.approx(B[20] + 0.49 / samples * B[:20].sum(), rel=1e-9)


def test_error_over_prompts_agrees_with_the_exact_mean() -> None:
    """Where the tail is light; 6 standard errors of 4,000 prompts, whose errors are bounded by their quantiles."""
    task = LinearRegression(4, 40, label_noise=0.5)
    result = error_over_prompts(task, 0.5, GaussianNoise(0.3), 6, 8, prompts=4000)
    exact = float(exact_curve(40, 4, HALF, 0.3, 6).error(6, 8, label_noise=HALF))
    assert result.mean == pytest.approx(exact, rel=0.05)
    assert 0 < result.median < result.mean
    assert result.unstable == 0
    assert error_over_prompts(task, 1.9, GaussianNoise(0.3), 6, 8, prompts=50).unstable > 0.5


def test_curves_and_splits() -> None:
    prompts = LinearRegression(4, 12, label_noise=0.3).sample(3, seed=2, dtype=torch.float64)
    state = LinearAttention.preconditioned([1.0, 0.9, 0.8, 0.7], 12, dtype=torch.float64).prefill(prompts).linear
    rule, metric = GaussianNoise(0.4), quadratic(prompts, "prediction_risk")
    bias, variance = bias_and_variance(state, rule, metric, 9)
    for steps in (1, 4, 9):
        expected = error_of_mean(gaussian_law(state, rule, steps), metric, [1, math.inf])
        torch.testing.assert_close(bias[:, steps - 1] + variance[:, steps - 1], expected[:, 0])
        torch.testing.assert_close(bias[:, steps - 1], expected[:, 1])
    split = best_split(bias.mean(0), variance.mean(0), 60)
    errors = [(bias.mean(0)[t - 1] + variance.mean(0)[t - 1] / (60 // t)).item() for t in range(1, 10)]
    assert split == Split(int(np.argmin(errors)) + 1, 60 // split.steps, min(errors))
    needed = iso_error(bias.mean(0), variance.mean(0), split.error)
    assert needed[split.steps - 1] == split.samples
    assert (needed[: split.steps - 1] * np.arange(1, split.steps) > 60 - split.steps).all()
    assert iso_error([1.0, 0.1], [1.0, 0.1], 0.5).tolist() == [math.inf, 1.0]


def test_split_laws() -> None:
    """The optimum at gamma = 1 for budgets of 10^6 and 10^8: T ~ sqrt(R C / 6 sigma^2), E ~ C^(-1/4); and for one slow
    mode of factor a, the stationary point T = ln(2 ln(1/a) b C / v) / (2 ln(1/a)) of b a^{2T} + v T / C."""
    B, found = limit_contraction(1.0, 0.5, 8000), []
    spread = np.concatenate(([0.0], np.cumsum(B)[:-1]))
    for budget in (10**6, 10**8):
        split = best_split(B[1:], spread[1:], budget)
        steps = math.sqrt(budget / 6)
        samples, error = budget / steps, 4 / 3 / math.sqrt(math.pi * steps)
        assert split.steps == pytest.approx(steps, rel=0.02)
        assert split.samples == pytest.approx(samples, rel=0.02)
        assert split.error == pytest.approx(error, rel=0.01)
        found.append(split.error)
    assert found[0] / found[1] == pytest.approx(100**0.25, rel=0.01)
    t = np.arange(1, 200)
    split = best_split(0.9 ** (2 * t), np.ones(199), 10**7)
    discrete = np.argmin(0.9 ** (2 * t) + t / 1e7) + 1
    rate = math.log(1 / 0.9)
    assert math.log(2 * rate * 1e7) / (2 * rate) == pytest.approx(discrete, abs=1)
    assert split.steps == pytest.approx(discrete, abs=1)
    with pytest.raises(ValueError, match="bias: expected shape"):
        best_split([], [], 3)
