"""Laws given a prompt, against loops, quadrature and closed forms; all deterministic, tolerances are of rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import oracles
from ttc_fast import (
    BernoulliSampling,
    ElementwiseNoise,
    GaussianNoise,
    GeometricDecay,
    HeldOutLoss,
    InContextLoss,
    LinearAttention,
    LinearRegression,
    NoisyVerifier,
    Oracle,
    PowerLawDecay,
    ProcessReward,
    Prompts,
    RankOneNoise,
    Verifier,
    WrongVerifier,
)
from ttc_fast.tasks.quadratic import Quadratic, quadratic
from ttc_fast.theory import score_law
from ttc_fast.theory.allocation import bias_and_variance
from ttc_fast.theory.gaussian import (
    GaussianLaw,
    error_of_mean,
    filter_law,
    gaussian_law,
    modes_that_improve,
    spread_of_error,
    tilt,
)
from ttc_fast.theory.multiplicative import moments
from ttc_fast.theory.quadratic import gaussian_best_of_n, moments_of_best, success_probability


def setting(dim: int = 4, examples: int = 12, *, preconditioned: bool = False) -> tuple[Prompts, torch.Tensor]:
    prompts = LinearRegression(dim, examples, label_noise=0.3).sample(3, seed=2, dtype=torch.float64)
    if preconditioned:
        model = LinearAttention.preconditioned([1.0 / (i + 1) for i in range(dim)], examples, dtype=torch.float64)
    else:
        model = LinearAttention.gradient_descent(dim, examples=examples, dtype=torch.float64)
    return prompts, model.prefill(prompts).linear.detach()


def isotropic(dim: int, bias: float) -> tuple[GaussianLaw, Quadratic]:
    """N(0, I) scored by |w - centre|^2 with |centre| = bias."""
    centre = torch.full((1, dim), bias / dim**0.5, dtype=torch.float64)
    eye = torch.eye(dim, dtype=torch.float64)[None]
    return GaussianLaw(torch.zeros_like(centre), eye), Quadratic(eye, centre, torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize(
    "rule", [GaussianNoise(0.3), GaussianNoise(GeometricDecay(0.5, 0.7)), GaussianNoise([0.1] * 6)]
)
@pytest.mark.parametrize(("dim", "examples", "steps"), [(4, 12, 6), (3, 2, 5), (1, 3, 1), (2, 5, 0)])
def test_law_is_the_recursions(dim: int, examples: int, steps: int, rule: GaussianNoise, preconditioned: bool) -> None:
    _, state = setting(dim, examples, preconditioned=preconditioned)
    w0 = torch.linspace(-1, 1, 3 * dim, dtype=torch.float64).reshape(3, dim)
    law = gaussian_law(state, rule, steps, w0)
    for b in range(3):
        mean, covariance = oracles.gaussian_law(state[b].numpy(), w0[b].numpy(), rule.scales(steps).numpy())
        np.testing.assert_allclose(law.mean[b], mean, atol=1e-12)
        np.testing.assert_allclose(law.covariance[b], covariance, atol=1e-12)


def test_quadratic_forms_are_the_metrics() -> None:
    from ttc_fast.tasks import metrics

    prompts, _ = setting()
    w = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(3, 1, 4)
    for name, metric in (("squared_error", metrics.squared_error), ("prediction_risk", metrics.prediction_risk),
                         ("in_context_loss", metrics.in_context_loss)):  # fmt: skip
        form = quadratic(prompts, name)  # type: ignore[arg-type]  # a literal of the line above
        torch.testing.assert_close(form(w[:, 0]), metric(prompts, w)[:, 0])
    for verifier in (InContextLoss(), HeldOutLoss(3), Oracle(), WrongVerifier(torch.tensor([1.0, 0, 2, 0]).double())):
        score = verifier.as_quadratic(prompts)
        assert score is not None
        assert score.noise == 0
        torch.testing.assert_close(-score.form(w[:, 0]), verifier.score(prompts, w)[:, 0])
    noisy = NoisyVerifier(NoisyVerifier(noise=0.3), noise=0.4).as_quadratic(prompts)
    assert noisy is not None
    assert noisy.noise == pytest.approx(0.5)
    assert NoisyVerifier(false_positive_rate=0.1).as_quadratic(prompts) is None
    assert ProcessReward(reduce="min").as_quadratic(prompts) is None
    with pytest.raises(ValueError, match="w_star: expected the true coefficients for squared_error"):
        quadratic(Prompts(prompts.x, prompts.y), "squared_error")


def test_error_of_means() -> None:
    """Per mode: m_i^2 + v_i / N in the eigenbasis of S (theory 2a)."""
    prompts, state = setting()
    eta, sigma, steps = 12 / 17, 0.3, 7
    values = error_of_mean(gaussian_law(state, GaussianNoise(sigma), steps), quadratic(prompts, "squared_error"),
                           [1, 5, math.inf])  # fmt: skip
    assert prompts.w_star is not None
    for b in range(3):
        x, y = prompts.x[b].numpy(), prompts.y[b].numpy()
        lam, axes = np.linalg.eigh(x.T @ x / 12)
        a = 1 - eta * lam
        estimate, truth = axes.T @ np.linalg.lstsq(x, y, rcond=None)[0], axes.T @ prompts.w_star[b].numpy()
        m = -(a**steps) * truth + (1 - a**steps) * (estimate - truth) + a**steps * 0
        m = (1 - a**steps) * estimate - truth
        v = sigma**2 * (1 - a ** (2 * steps)) / (1 - a**2)
        expected = [(m**2).mean() + v.mean() / k for k in (1, 5, math.inf)]
        np.testing.assert_allclose(values[b], expected, rtol=1e-12)


def test_overthinking_of_modes() -> None:
    """A mode improves with T iff its squared start exceeds sigma^2 / (N (1 - a^2)): step by step, noise-free labels."""
    prompts = LinearRegression(4, 12).sample(3, seed=2, dtype=torch.float64)
    state = LinearAttention.gradient_descent(4, examples=12, dtype=torch.float64).prefill(prompts).linear.detach()
    assert prompts.w_star is not None
    improves = modes_that_improve(state, prompts.w_star, 1.0, 2)
    assert improves.any()
    assert not improves.all()
    for b in range(3):
        a, axes = np.linalg.eigh(np.eye(4) + state[b, :, :-1].numpy())
        gap = axes.T @ prompts.w_star[b].numpy()
        for t in (0, 1, 5):
            error = [a ** (2 * s) * gap**2 + (1 - a ** (2 * s)) / (1 - a**2) / 2 for s in (t, t + 1)]
            np.testing.assert_array_equal(improves[b], error[1] < error[0])


@pytest.mark.parametrize(("dim", "bias"), [(1, 0.0), (2, 0.0), (3, 0.0), (5, 0.0), (1, 2.0), (2, 0.5), (4, 3.0)])
@pytest.mark.parametrize("samples", [1, 2, 4, 64])
def test_best_of_n_of_an_orthogonal_design(dim: int, bias: float, samples: int) -> None:
    """E = int (1 - F)^N, F of the (non-central) chi^2 law; quadrature in sqrt(q)."""
    law, form = isotropic(dim, bias)
    got = gaussian_best_of_n(law, form, [form], [samples])[0, 0, 0].item()

    def integrand(r: float) -> float:
        sf = stats.chi2.sf(r * r, dim) if bias == 0 else stats.ncx2.sf(r * r, dim, bias**2)
        return float(2 * r * sf**samples)

    expected, _ = integrate.quad(integrand, 0, 14 + bias, epsabs=1e-13, epsrel=1e-11, limit=400)
    assert got == pytest.approx(expected, rel=1e-9)


def test_published_values_of_best_of_n() -> None:
    """Theory 2a: .120702 and .000733 (d = 1), 2 / N (d = 2), 2.252913 and .599194 (d = 5)."""
    for dim, samples, value in ((1, 4, 0.120702), (1, 64, 0.000733), (5, 4, 2.252913), (5, 64, 0.599194)):
        law, form = isotropic(dim, 0.0)
        assert gaussian_best_of_n(law, form, [form], [samples])[0, 0, 0].item() == pytest.approx(value, abs=5e-7)
    law, form = isotropic(2, 0.0)
    np.testing.assert_allclose(
        gaussian_best_of_n(law, form, [form], [1, 3, 1000, 10**6])[0, 0], [2, 2 / 3, 2e-3, 2e-6], rtol=1e-8
    )


def test_large_n_is_a_power_law() -> None:
    """E Q_min ~ Gamma(1 + 2/d) (N C)^{-2/d}, C = density at the minimum times the volume of the unit ball."""
    law, form = isotropic(3, 1.0)
    C = np.exp(-0.5) / (2 * np.pi) ** 1.5 * 4 / 3 * np.pi
    got = gaussian_best_of_n(law, form, [form], [10**9])[0, 0, 0].item()
    assert got == pytest.approx(
        math.gamma(5 / 3) * (1e9 * C) ** (-2 / 3), rel=1e-4
    )  # the next term is N^(-2/3) smaller


@pytest.mark.parametrize("verifier", [InContextLoss(), Oracle(), HeldOutLoss(3), WrongVerifier(torch.ones(4).double()),
                                      NoisyVerifier(Oracle(), noise=0.05)])  # fmt: skip
def test_best_of_n_identities(verifier: Verifier) -> None:
    """One candidate: the error of one decode; and the verifier's own opinion improves with every candidate."""
    prompts, state = setting()
    law = gaussian_law(state, GaussianNoise(0.4), 3)
    score = verifier.as_quadratic(prompts)
    assert score is not None
    form, noise = score.form, score.noise
    metrics = [quadratic(prompts, "squared_error"), quadratic(prompts, "prediction_risk"), form]
    values = gaussian_best_of_n(law, form, metrics, [1, 2, 8, 10**6], noise=noise)
    for metric, value in zip(metrics, values):
        torch.testing.assert_close(value[:, 0], error_of_mean(law, metric, [1])[:, 0], rtol=1e-8, atol=0)
    assert (values[2].diff(dim=1) < 0).all()


def test_wrong_verifier_tends_to_its_aim() -> None:
    """N -> infinity: |w_R - w*|^2 / d; candidates near w_R in 4 dimensions get closer as N^-1/4."""
    prompts, state = setting()
    aim = torch.tensor([0.3, -0.2, 0.1, 0.4]).double()
    form = WrongVerifier(aim).as_quadratic(prompts).form
    metric = quadratic(prompts, "squared_error")
    value = gaussian_best_of_n(gaussian_law(state, GaussianNoise(0.5), 3), form, [metric], [10**9])[0, :, 0]
    torch.testing.assert_close(value, metric(aim.expand(3, -1)), rtol=0.02, atol=0)


def test_noise_of_the_verifier_is_a_dial() -> None:
    """From best-of-N without noise to one decode with much of it; in between E[w^2] by quadrature for d = 1."""
    law, form = isotropic(1, 0.0)
    clean, little, much = (
        gaussian_best_of_n(law, form, [form], [8], noise=s)[0, 0, 0].item() for s in (0.0, 1e-4, 1e4)
    )
    assert little == pytest.approx(clean, rel=1e-4)
    assert much == pytest.approx(1.0, rel=1e-3)
    samples, tau = 3, 0.7
    grid, h = np.linspace(-9, 9, 3001, retstep=True)
    weight = stats.norm.pdf(grid) * h
    s, step = np.linspace(-8, 90, 20001, retstep=True)
    density = sum(w * stats.norm.pdf(s, g * g, tau) for g, w in zip(grid[::4], weight[::4] * 4))
    value = sum(w * g * g * stats.norm.pdf(s, g * g, tau) for g, w in zip(grid[::4], weight[::4] * 4))
    above = 1 - np.cumsum(density) * step + density * step / 2
    expected = (value * samples * above ** (samples - 1)).sum() * step
    assert gaussian_best_of_n(law, form, [form], [samples], noise=tau)[0, 0, 0].item() == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize(("dim", "bias"), [(1, 0.0), (3, 0.0), (2, 1.5), (6, 4.0)])
def test_success_probability(dim: int, bias: float) -> None:
    """F(eps) of the (non-central) chi^2 law, also in tails of 1e-12."""
    law, form = isotropic(dim, bias)
    for threshold in (1e-3, 0.1, 1.0, float(dim + bias**2), 30.0):
        exact = stats.chi2.cdf(threshold, dim) if bias == 0 else stats.ncx2.cdf(threshold, dim, bias**2)
        assert success_probability(law, form, threshold).item() == pytest.approx(exact, rel=1e-8)
    assert success_probability(law, form, -1.0).item() == 0


@pytest.mark.parametrize("noise", [0.0, 1.5])
def test_a_direction_with_hardly_any_noise(noise: float) -> None:
    """Down to 1e-9 of the other's and far from the aim: the law tends to that without it."""
    values = []
    for tiny in (0.0, 1e-9, 1e-7, 1e-6):
        law = GaussianLaw(torch.tensor([[-3.7, 23.3]]).double(), torch.diag(torch.tensor([tiny, 3e-3]).double())[None])
        turn = torch.tensor([[0.43, -0.06], [-0.06, 0.09]]).double()[None]
        form = Quadratic(turn, torch.tensor([[-2.7, 18.6]]).double(), torch.zeros(1).double())
        metric = Quadratic(torch.eye(2).double()[None] / 2, torch.tensor([[0.1, 20.8]]).double(), form.constant)
        values.append(gaussian_best_of_n(law, form, [metric], [1, 8], noise=noise)[0, 0])
        torch.testing.assert_close(values[-1][:1], error_of_mean(law, metric, [1])[0], rtol=1e-8, atol=0)
    for value in values[1:]:
        torch.testing.assert_close(value, values[0], rtol=1e-6, atol=0)


def test_without_noise_all_candidates_are_one() -> None:
    prompts, state = setting()
    law, metric = gaussian_law(state, GaussianNoise(0.0), 5), quadratic(prompts, "squared_error")
    torch.testing.assert_close(gaussian_best_of_n(law, metric, [metric], [64])[0, :, 0], metric(law.mean))
    assert success_probability(law, metric, 1e3).tolist() == [1, 1, 1]


def test_tilt_per_mode() -> None:
    """Mean what_i + delta_i / (1 + beta lambda_i v_i), and ln Z, in the eigenbasis of S; first order in beta at N."""
    prompts, state = setting()
    law, form, beta = gaussian_law(state, GaussianNoise(0.3), 4), quadratic(prompts, "in_context_loss"), 7.0
    tilted = tilt(law, form, beta)
    for b in range(3):
        lam, axes = np.linalg.eigh(2 * form.matrix[b].numpy())
        v = np.diag(axes.T @ law.covariance[b].numpy() @ axes)
        estimate, delta = axes.T @ form.centre[b].numpy(), axes.T @ (law.mean - form.centre)[b].numpy()
        shrink = 1 + beta * lam * v
        np.testing.assert_allclose(axes.T @ tilted.law.mean[b].numpy(), estimate + delta / shrink, rtol=1e-9)
        np.testing.assert_allclose(np.diag(axes.T @ tilted.law.covariance[b].numpy() @ axes), v / shrink, rtol=1e-9)
        log_z = -(np.log(shrink) / 2 + beta * lam * delta**2 / shrink / 2).sum() - beta * form.constant[b].item()
        assert tilted.log_evidence[b].item() == pytest.approx(log_z, rel=1e-9)


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_filter_law_is_the_kalman_filters(every: int) -> None:
    """As matrices in the space of the examples: exp(-beta |y - X w|^2 / 2n) is a Gaussian likelihood."""
    prompts, state = setting()
    sigma, beta, steps = 0.4, 3.0, 5
    got = filter_law(state, GaussianNoise(sigma), steps, quadratic(prompts, "in_context_loss"), beta, every=every)
    for b in range(3):
        M, c = oracles.affine(state[b].numpy())
        x, y = prompts.x[b].numpy(), prompts.y[b].numpy()
        mean, covariance, log_z = np.zeros(4), np.zeros((4, 4)), 0.0
        R = np.eye(len(y)) * len(y) / beta
        for step in range(1, steps + 1):
            mean, covariance = M @ mean + c, M @ covariance @ M.T + sigma**2 * np.eye(4)
            if step % every == 0 or step == steps:
                spread = x @ covariance @ x.T + R
                log_z += stats.multivariate_normal.logpdf(y, x @ mean, spread)
                log_z += np.log(2 * np.pi * len(y) / beta) * len(y) / 2
                gain = covariance @ x.T @ np.linalg.inv(spread)
                mean, covariance = mean + gain @ (y - x @ mean), covariance - gain @ x @ covariance
        np.testing.assert_allclose(got.law.mean[b], mean, atol=1e-10)
        assert got.log_evidence[b].item() == pytest.approx(log_z, abs=1e-9)


def test_wrong_arguments() -> None:
    _, state = setting()
    with pytest.raises(TypeError, match="rule: expected GaussianNoise, got BernoulliSampling"):
        gaussian_law(state, BernoulliSampling(), 3)
    with pytest.raises(TypeError, match=r"rule: expected an object with the method thought .*, got str"):
        gaussian_law(state, "noise", 3)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="w0: expected shape"):
        gaussian_law(state, GaussianNoise(0.1), 3, torch.zeros(3, 5))
    with pytest.raises(ValueError, match="state: expected P = eta I"):
        modes_that_improve(setting(preconditioned=True)[1], torch.zeros(3, 4), 0.1, 4)
    law, form = isotropic(2, 0.0)
    with pytest.raises(ValueError, match="budgets: expected an integer from 1"):
        gaussian_best_of_n(law, form, [form], [0])
    assert GaussianNoise(PowerLawDecay(1.0, 1.0)).scales(2).tolist() == [1.0, 0.5]


@pytest.mark.parametrize(("dim", "steps"), [(16, 1), (16, 32), (24, 2)])
def test_contours_that_are_shared(dim: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """1e-8 of means, 1e-7 of variances, of what a contour for each q gives."""
    prompts = LinearRegression(dim, 4 * dim, label_noise=0.1).sample(3, seed=dim)
    state = LinearAttention.gradient_descent(dim, step_size=0.3).prefill(prompts).linear
    law, metric = gaussian_law(state, GaussianNoise(0.2), steps), quadratic(prompts, "squared_error")
    forms = [metric, quadratic(prompts, "in_context_loss")]
    for score in forms:
        shared = moments_of_best(law, score, forms, [1, 8, 4096])
        with monkeypatch.context() as patch:
            patch.setattr(score_law, "NEAR", 1.0)
            alone = moments_of_best(law, score, forms, [1, 8, 4096])
        assert not torch.equal(shared[0], alone[0])
        torch.testing.assert_close(shared[0], alone[0], rtol=1e-8, atol=0)
        torch.testing.assert_close(shared[1], alone[1], rtol=1e-7, atol=0)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("dim", [1, 5, 16])
def test_bits_do_not_depend_on_the_prompts_beside(dim: int, noise: float) -> None:
    """Of best-of-N, with prompts whose contours are shared and not, and of P(error <= eps)."""
    prompts = LinearRegression(dim, 2 * dim, label_noise=0.1).sample(7, seed=dim)
    state = LinearAttention.gradient_descent(dim, step_size=0.3).prefill(prompts).linear
    whole = gaussian_law(state, GaussianNoise(0.2), 2)
    score, metric = quadratic(prompts, "in_context_loss"), quadratic(prompts, "squared_error")
    moments = moments_of_best(whole, score, [metric], [1, 64], noise=noise)
    successes = success_probability(whole, metric, 0.3)
    for part in (slice(0, 1), slice(3, 4), slice(1, 6)):
        law = gaussian_law(state[part], GaussianNoise(0.2), 2)
        forms = [Quadratic(*(field[part] for field in form)) for form in (score, metric)]
        for got, expected in zip(moments_of_best(law, forms[0], forms[1:], [1, 64], noise=noise), moments):
            assert torch.equal(got, expected[:, part])
        assert torch.equal(success_probability(law, forms[1], 0.3), successes[part])


@pytest.mark.parametrize("dim", [5, 9, 33])
def test_bits_of_other_laws_do_not_depend_on_the_prompts_beside(dim: int) -> None:
    """Where products in batches and one alone were seen to differ."""
    prompts = LinearRegression(dim, 3 * dim, label_noise=0.2).sample(5)
    state = LinearAttention.gradient_descent(dim, examples=3 * dim).prefill(prompts).linear

    def laws(start: int, stop: int) -> list[torch.Tensor]:
        part, given = prompts.part(start, stop), state[start:stop]
        loss, error = quadratic(part, "in_context_loss"), quadratic(part, "squared_error")
        law = gaussian_law(given, GaussianNoise(0.2), 8)
        tilted, filtered = tilt(law, loss, 2.0), filter_law(given, GaussianNoise(0.2), 4, loss, 1.0)
        found = [*loss, law.covariance, *spread_of_error(law, error, [1, 8]), tilted.law.mean, filtered.log_evidence]
        for rule in (RankOneNoise(0.05), ElementwiseNoise(0.05)):
            (after,) = moments(given, rule, [4])
            found += [after.mean, after.covariance, error_of_mean(after, error, [1, 8])]
        return [*found, *bias_and_variance(given, GaussianNoise(0.2), error, steps=4)]

    for i in range(5):
        for one, whole in zip(laws(i, i + 1), laws(0, 5)):
            assert torch.equal(one[0], whole[i])
