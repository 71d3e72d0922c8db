"""Noise in proportion to the thought: exact moments against plain recursions, closed forms and simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import oracles
from oracles import ALPHA
from ttc_fast import (
    ElementwiseNoise,
    GaussianNoise,
    GeometricDecay,
    LinearAttention,
    LinearRegression,
    PowerLawDecay,
    Prompts,
    RankOneNoise,
    StochasticDecoder,
    decode,
    evaluate,
    overlay,
)
from ttc_fast.decoding.gaussian_chain import DIVERGES_ABOVE
from ttc_fast.decoding.rules import Rule
from ttc_fast.evaluation.evaluate import evaluation
from ttc_fast.evaluation.plan import Plan
from ttc_fast.tasks.quadratic import quadratic
from ttc_fast.techniques.ridge import with_ridge
from ttc_fast.techniques.verifiers import SmallestNorm
from ttc_fast.theory import authors_laws
from ttc_fast.theory.gaussian import error_of_mean, gaussian_law
from ttc_fast.theory.multiplicative import MultiplicativeChain, mean_square_radius, moments
from ttc_fast.theory.ridge import best_ridge, equivalent_ridge, ridge_descent

RULES: list[Any] = [
    RankOneNoise(0.1),
    RankOneNoise(GeometricDecay(0.3, 0.8)),
    ElementwiseNoise(0.4),
    ElementwiseNoise([0.5, 0.1, 0.3, 0.0, 0.2, 0.4, 0.9]),
]


def setting(
    dim: int = 3, examples: int = 12, count: int = 3, *, preconditioned: bool = False
) -> tuple[Prompts, torch.Tensor]:
    prompts = LinearRegression(dim, examples, label_noise=0.3).sample(count, seed=2, dtype=torch.float64)
    if preconditioned:
        model = LinearAttention.preconditioned([1.0 / (i + 1) for i in range(dim)], examples, dtype=torch.float64)
    else:
        model = LinearAttention.gradient_descent(dim, examples=examples, dtype=torch.float64)
    return prompts, model.prefill(prompts).linear.detach()


def plain_moments(
    state: oracles.Array, rule: Any, steps: int, w0: oracles.Array
) -> tuple[oracles.Array, oracles.Array]:
    """E w and E w w^T by the recursion of the second moment itself."""
    A, c = oracles.affine(state)
    m, Q, eye = w0, np.outer(w0, w0), np.eye(len(c))
    for kappa in rule.scales(steps).tolist():
        M, noise = (
            (A - kappa * eye, np.trace(Q) * eye + Q) if isinstance(rule, RankOneNoise) else (A, np.diag(np.diag(Q)))
        )
        Q = M @ Q @ M.T + np.outer(M @ m, c) + np.outer(c, M @ m) + np.outer(c, c) + kappa**2 * noise
        m = M @ m + c
    return m, Q


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dim", [1, 4])
def test_moments_are_the_plain_recursions(dim: int, rule: Any, preconditioned: bool) -> None:
    """At several steps, 0 among them, in any order, from any start."""
    _, state = setting(dim, preconditioned=preconditioned)
    w0 = torch.linspace(-1, 1, 3 * dim, dtype=torch.float64).reshape(3, dim)
    steps = [7, 0, 2, 7]
    for T, found in zip(steps, moments(state, rule, steps, w0)):
        for b in range(3):
            mean, second = plain_moments(state[b].numpy(), rule, T, w0[b].numpy())
            np.testing.assert_allclose(found.mean[b], mean, atol=1e-13)
            np.testing.assert_allclose(found.second[b], second, atol=1e-12)
    start = moments(state, rule, [0])[0]
    assert not start.mean.any()
    assert not start.covariance.any()


@pytest.mark.parametrize("rule", RULES)
def test_moments_are_those_of_simulated_chains(rule: Rule) -> None:
    """12 prompts x 4,000 chains in float64: the means of w_i and of w_i w_j; Bonferroni at ALPHA over all of them."""
    _, state = setting(count=12)
    N, steps = 4000, [2, 7]
    w = decode(
        state, torch.zeros(12, 3).double(), rule=rule, steps=steps, samples=N, seed=8, backend="reference"
    ).thoughts
    scores = []
    for thoughts, found in zip(w, moments(state, rule, steps)):
        products = thoughts[..., :, None] * thoughts[..., None, :]
        for drawn, exact in ((thoughts, found.mean), (products, found.second)):
            error = drawn.std(1) / math.sqrt(N)
            scores.append(((drawn.mean(1) - exact) / error)[error > 1e-12].abs())
    together = torch.cat(scores)
    assert len(together) == 2 * 12 * (3 + 9)
    assert together.max() < stats.norm.isf(ALPHA / 2 / len(together))


@pytest.mark.parametrize("preconditioned", [False, True])
def test_the_mean_is_descent_with_a_ridge(preconditioned: bool) -> None:
    """Of the rank-one rule; of the element-wise one it is plain descent."""
    _, state = setting(5, preconditioned=preconditioned)
    of_gaussian = gaussian_law(with_ridge(state, 0.1), GaussianNoise(0.0), 9).mean
    mean = moments(state, RankOneNoise(0.1), [9])[0].mean
    torch.testing.assert_close(mean, of_gaussian, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(ridge_descent(state, 0.1, 9), of_gaussian, rtol=1e-12, atol=1e-13)
    decay = GeometricDecay(0.3, 0.7)
    mean = moments(state, RankOneNoise(decay), [9], torch.ones(3, 5).double())[0].mean
    torch.testing.assert_close(ridge_descent(state, decay, 9, torch.ones(3, 5).double()), mean, rtol=1e-12, atol=1e-13)
    plain = moments(state, ElementwiseNoise(0.4), [9])[0].mean
    torch.testing.assert_close(plain, ridge_descent(state, 0.0, 9), rtol=1e-12, atol=1e-13)


def test_the_ridge_in_units_of_the_loss() -> None:
    """The limit of the chain solves (S + lambda I) w = b, and (G + n lambda I) w = X^T y."""
    prompts, state = setting(4, 12)
    eta, kappa = 12 / 17, 0.05
    limit = ridge_descent(state, kappa, 2000)
    for b in range(3):
        x, y = prompts.x[b], prompts.y[b]
        on_mean = x.T @ x / 12 + equivalent_ridge(kappa, eta) * torch.eye(4).double()
        on_sums = x.T @ x + equivalent_ridge(kappa, eta, examples=12) * torch.eye(4).double()
        torch.testing.assert_close(on_mean @ limit[b], x.T @ y / 12, rtol=0, atol=1e-12)
        torch.testing.assert_close(on_sums @ limit[b], x.T @ y, rtol=0, atol=1e-11)
    with pytest.raises(ValueError, match="step_size: expected a number above 0"):
        equivalent_ridge(0.1, 0.0)


def test_the_best_ridge() -> None:
    """sum_i (p lambda^2 + delta^2 g_i) / (g_i + lambda)^2 with prior variance p = k / d is least there."""
    g = np.array([0.2, 3.0, 17.0])

    def error(ridge: float) -> float:
        return float(((5 / 50 * ridge**2 + 0.3 * g) / (g + ridge) ** 2).sum())

    best = best_ridge(0.3, 50, 5)
    assert best == pytest.approx(3.0)
    assert error(best) < min(error(0.99 * best), error(1.01 * best))
    assert best_ridge(0.3, 50) == 0.3
    with pytest.raises(ValueError, match="nonzero: expected an integer from 1 to 50, got 51"):
        best_ridge(0.3, 50, 51)


def second_moment_map(state: oracles.Array, rule: Any) -> oracles.Array:
    """[d^2, d^2], of vec(E w w^T)."""
    A, c = oracles.affine(state)
    eye, kappa = np.eye(len(c)), float(rule.scales(1)[0])
    if isinstance(rule, RankOneNoise):
        M = A - kappa * eye
        return np.asarray(np.kron(M, M) + kappa**2 * (np.outer(eye, eye) + np.eye(len(c) ** 2)))
    return np.asarray(np.kron(A, A) + kappa**2 * np.diag(eye.ravel()))


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize(
    "rule", [RankOneNoise(0.2), RankOneNoise(28.7), ElementwiseNoise(0.7), ElementwiseNoise(1e-3), RankOneNoise(0.0)]
)
@pytest.mark.parametrize(("dim", "examples"), [(1, 12), (4, 12), (7, 12), (7, 3)])
def test_radius_is_that_of_the_map(dim: int, examples: int, rule: Any, preconditioned: bool) -> None:
    """Also where A has the eigenvalue 1 several times, with fewer examples than coefficients."""
    _, state = setting(dim, examples, preconditioned=preconditioned)
    expected = [np.abs(np.linalg.eigvals(second_moment_map(s, rule))).max() for s in state.numpy()]
    np.testing.assert_allclose(mean_square_radius(state, rule), expected, rtol=1e-9)


def test_radius_of_any_state() -> None:
    """400 seeded ones of both rules: also matrices with fewer than d eigenvectors, in all units, or with no noise to
    speak of. An eigenvalue of a matrix that lacks eigenvectors is known to the root of the rounding error only."""
    random = np.random.default_rng(5)
    for i in range(400):
        dim, unit = int(random.integers(1, 6)), float(random.choice([1e-6, 0.1, 1.0, 30.0]))
        matrix = random.integers(-1, 2, (dim, dim)) if i % 2 else random.standard_normal((dim, dim))
        kappa = float(random.choice([1e-170, 1e-3, 0.3, 1.0, 7.0])) * unit
        rule = RankOneNoise(kappa) if i % 4 < 2 else ElementwiseNoise(kappa)
        state = np.concatenate((unit * matrix - np.eye(dim), np.ones((dim, 1))), 1)
        expected = np.abs(np.linalg.eigvals(second_moment_map(state, rule))).max()
        found = float(mean_square_radius(torch.from_numpy(state)[None], rule))
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-3 * unit**2 if kappa < 1e-2 * unit else 0.0), (i, rule)


@pytest.mark.parametrize("a", [-3.0, -1.0, 1e-9, 0.3, 1.0])
def test_radius_of_one_coefficient(a: float) -> None:
    """a^2 + kappa^2 in all units: the characteristic equation has its root at the bound where its search begins."""
    state = torch.tensor([[[a - 1, -1.0]]], dtype=torch.float64)
    for kappa in (1e-8, 1e-3, 0.9, *(28.656294150743747 * 1.1**i for i in range(20)), 3e4):
        assert float(mean_square_radius(state, ElementwiseNoise(kappa))) == pytest.approx(a**2 + kappa**2, rel=1e-9)


@pytest.mark.parametrize("rule", [RankOneNoise(0.3), RankOneNoise(0.02), ElementwiseNoise(0.7), ElementwiseNoise(1e-3)])
@pytest.mark.parametrize(("dim", "examples"), [(1, 12), (4, 12), (7, 3)])
def test_prompts_that_diverge(dim: int, examples: int, rule: Any) -> None:
    """By bounds where they decide: the same as by the radius; a run counts them."""
    prompts, state = setting(dim, examples)
    wild = torch.cat((state, 5 * state))
    np.testing.assert_array_equal(rule.diverges(wild), mean_square_radius(wild, rule) > DIVERGES_ABOVE)
    model = LinearAttention.gradient_descent(dim, examples=examples, dtype=torch.float64)
    plan = Plan.checked(StochasticDecoder(model, rule), prompts, steps=1, samples=1, techniques=["single"])
    unstable = evaluation(plan, prompts).unstable
    np.testing.assert_array_equal(unstable, mean_square_radius(model.prefill(prompts).linear, rule) > DIVERGES_ABOVE)


def test_boundary_of_stability() -> None:
    """d = 1: (a - kappa)^2 + 2 kappa^2 = 1. Below it the second moment settles, above it grows without end."""
    a = 0.5
    boundary = (a + math.sqrt(a**2 + 3 * (1 - a**2))) / 3
    state = torch.tensor([[[a - 1, -1.0]]], dtype=torch.float64)
    assert float(mean_square_radius(state, RankOneNoise(boundary))) == pytest.approx(1.0, abs=1e-14)
    for factor in (0.98, 1.02):
        at = moments(state, RankOneNoise(factor * boundary), [1000, 2000, 3000])
        first, second, third = (float(one.second[0, 0, 0]) for one in at)
        radius = float(mean_square_radius(state, RankOneNoise(factor * boundary)))
        assert (radius < 1) == (factor < 1)
        growth = (third - second) / (second - first) if factor > 1 else third / second
        assert growth == pytest.approx(radius**1000 if factor > 1 else 1.0, rel=1e-6)


def test_metrics_of_means() -> None:
    """(m - w*)^T A (m - w*) + tr(A C) / N, and the first term alone of infinitely many."""
    prompts, state = setting(4)
    law = moments(state, RankOneNoise(0.1), [6])[0]
    for metric in ("squared_error", "prediction_risk", "in_context_loss"):
        form = quadratic(prompts, metric)
        found = error_of_mean(law, form, [1, 5, math.inf])
        for b in range(3):
            spread = float(torch.trace(form.matrix[b] @ law.covariance[b]))
            expected = [float(form(law.mean)[b]) + spread / k for k in (1, 5, math.inf)]
            np.testing.assert_allclose(found[b], expected, rtol=1e-12)


def evaluated(
    rule: Rule, *, preconditioned: bool = False, verifier: Any = None, techniques: Any = None, steps: Any = (1, 2, 6)
) -> dict[Any, Any]:
    prompts = LinearRegression(4, 20, label_noise=0.3).sample(100, seed=6, dtype=torch.float64)
    if preconditioned:
        model = LinearAttention.preconditioned([1.0, 0.8, 0.6, 0.4], 20, dtype=torch.float64)
    else:
        model = LinearAttention.gradient_descent(4, examples=20, dtype=torch.float64)
    decoder = StochasticDecoder(model, rule)
    table = evaluate(decoder, prompts, steps=steps, samples=32, seed=1, verifier=verifier, techniques=techniques,
                     backend="reference")  # fmt: skip
    return overlay(decoder, prompts, table, verifier=verifier).theory_checks()


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("rule", [RankOneNoise(PowerLawDecay(0.15, 0.5)), ElementwiseNoise(0.4)])
def test_simulation_against_theory(rule: Rule, preconditioned: bool) -> None:
    """t beyond 6 has a probability of 2e-9 for each of 48 comparisons, up to the skewness of the results."""
    checks = evaluated(rule, preconditioned=preconditioned)
    assert {key.technique for key in checks} == {"greedy", "single", "mean"}
    assert len(checks) == 3 * 2 * (1 + 1 + 6)
    assert max(abs(check.t) for check in checks.values()) < 6
    # Fourth moments are not at hand: no z, but where nothing is drawn.
    assert {key.technique for key, check in checks.items() if not math.isnan(check.z)} == {"greedy"}


def test_overlay_alarms_at_another_strength() -> None:
    """Simulated with twice the noise that the law knows of: t beyond 6."""
    prompts = LinearRegression(4, 20, label_noise=0.3).sample(200, seed=6, dtype=torch.float64)
    model = LinearAttention.gradient_descent(4, examples=20, dtype=torch.float64)
    table = evaluate(StochasticDecoder(model, RankOneNoise(0.2)), prompts, steps=6, samples=64, seed=1,
                     techniques=["single"], backend="reference")  # fmt: skip
    checks = overlay(StochasticDecoder(model, RankOneNoise(0.1)), prompts, table).theory_checks()
    assert min(check.t for check in checks.values()) > 6


def test_laws_that_would_take_too_long_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """T d^2 multiplications in the eigenbasis, else T d^3."""
    _, state = setting(3)
    assert MultiplicativeChain(state, RankOneNoise(0.1)).work(10) == 90
    assert MultiplicativeChain(state, ElementwiseNoise(0.1)).work(10) == 270
    monkeypatch.setattr(authors_laws, "MOMENTS_WORK", 2 * 4**2)
    checks = evaluated(RankOneNoise(0.1), techniques=["greedy", "single"])
    assert {key.steps for key in checks if key.technique == "single"} == {1, 2}
    assert {key.steps for key in checks if key.technique == "greedy"} == {1, 2, 6}


def test_best_of_n_by_the_smallest_norm_on_a_gaussian_chain() -> None:
    """The law of a verifier that is quadratic holds; z as above for each of 12 comparisons."""
    checks = evaluated(GaussianNoise(0.4), verifier=SmallestNorm(), techniques=["best_of_n"], steps=6)
    assert len(checks) == 2 * 6
    assert max(abs(check.z) for check in checks.values()) < 6


def test_other_rules_are_refused() -> None:
    _, state = setting()
    with pytest.raises(TypeError, match="rule: expected RankOneNoise or ElementwiseNoise, got GaussianNoise"):
        moments(state, GaussianNoise(0.1), [1])
    with pytest.raises(ValueError, match=r"w0: expected shape \[3, 3\], got \[1, 3\]"):
        moments(state, RankOneNoise(0.1), [1], torch.zeros(1, 3).double())
    with pytest.raises(ValueError, match="strength: expected one number for each of 3 steps, got 2"):
        ridge_descent(state, [0.1, 0.1], 3)
