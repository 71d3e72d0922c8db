"""Thoughts drawn from their exact law (``method="exact"``), against the law and against the chain step by step."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from oracles import ALPHA
from ttc_fast import BernoulliSampling, GaussianNoise, GeometricDecay, LinearAttention, LinearRegression, decode
from ttc_fast.theory.gaussian import gaussian_law

STATE_DIM = 3


def gaussian_setting(preconditioned: bool, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, GaussianNoise]:
    prompts = LinearRegression(STATE_DIM, 8, label_noise=0.2).sample(2, seed=3, dtype=dtype)
    if preconditioned:
        model = LinearAttention.preconditioned([1.0, 0.8, 0.6], 8, dtype=dtype)
    else:
        model = LinearAttention.gradient_descent(STATE_DIM, examples=8, dtype=dtype)
    w0 = torch.tensor([[1.0, 0, -1], [0.5, 2, 0]], dtype=dtype)
    return model.prefill(prompts).linear.detach(), w0, GaussianNoise(GeometricDecay(0.5, 0.9))


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_exact_method_has_the_law_of_the_chain(preconditioned: bool, dtype: torch.dtype) -> None:
    """Whitened by the exact law of all asked steps together, N |mean|^2 and sum |z|^2 are ~ chi^2; each at ALPHA."""
    state, w0, rule = gaussian_setting(preconditioned, dtype)
    steps, samples = [9, 2, 9], 2**14
    thoughts = decode(state, w0, rule=rule, steps=steps, samples=samples, seed=5, method="exact").thoughts.double()
    assert torch.equal(thoughts[0], thoughts[2])
    first = gaussian_law(state, rule, 2, w0)
    M = torch.eye(STATE_DIM).double() + state[:, :, :-1].double()
    power = torch.linalg.matrix_power(M, 7)
    last = gaussian_law(state, rule, 9, w0)
    cross = power @ first.covariance
    for b in range(2):
        mean = torch.cat((first.mean[b], last.mean[b]))
        top = torch.cat((first.covariance[b], cross[b].mT), 1)
        covariance = torch.cat((top, torch.cat((cross[b], last.covariance[b]), 1)))
        w = torch.cat((thoughts[1, b], thoughts[0, b]), 1)
        z = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (w - mean).T, upper=False).numpy()
        assert stats.chi2.sf(samples * (z.mean(1) ** 2).sum(), 6) > ALPHA
        total = (z**2).sum()
        assert 2 * min(stats.chi2.sf(total, samples * 6), stats.chi2.cdf(total, samples * 6)) > ALPHA
        for i in range(6):
            assert stats.kstest(z[i], "norm").pvalue > ALPHA
            for j in range(i):
                assert stats.pearsonr(z[i], z[j]).pvalue > ALPHA


def test_exact_method_against_stepwise() -> None:
    """Two-sample Kolmogorov-Smirnov tests of coefficients and of squared norms, each at ALPHA; other seeds."""
    state, w0, rule = gaussian_setting(False, torch.float32)
    drawn = [
        decode(state, w0, rule=rule, steps=[3, 8], samples=2**14, seed=seed, method=method).thoughts  # type: ignore[arg-type]  # a literal below
        for seed, method in ((1, "stepwise"), (2, "exact"))
    ]
    for one, other in zip(drawn[0].flatten(0, 1), drawn[1].flatten(0, 1)):
        for i in range(STATE_DIM):
            assert stats.ks_2samp(one[:, i], other[:, i]).pvalue > ALPHA
        assert stats.ks_2samp(one.square().sum(1), other.square().sum(1)).pvalue > ALPHA


def test_exact_method_does_not_depend_on_the_chunk() -> None:
    state, w0, rule = gaussian_setting(False, torch.float32)
    whole = decode(state, w0, rule=rule, steps=[0, 4, 9], samples=100, seed=5, method="exact").thoughts
    part = decode(
        state[1:],
        w0[1:],
        rule=rule,
        steps=[0, 4, 9],
        samples=7,
        seed=5,
        method="exact",
        first_sample=30,
        first_prompt=1,
    ).thoughts
    assert torch.equal(whole[:, 1:, 30:37], part)
    assert torch.equal(whole[0], w0[:, None].expand(-1, 100, -1))
    # resumed from the samples' own thoughts, the words of the asked step are the same
    resumed = decode(
        state, whole[1], rule=rule, steps=[9], samples=100, seed=5, first_step=4, method="exact", backend="auto"
    ).thoughts
    torch.testing.assert_close(resumed[0], whole[2])


def test_exact_method_is_for_gaussian_noise() -> None:
    state, w0, _ = gaussian_setting(False, torch.float32)
    with pytest.raises(ValueError, match=r"method: expected 'stepwise' for BernoulliSampling\(.*\), got 'exact'"):
        decode(state, w0, rule=BernoulliSampling(), steps=[1], samples=2, method="exact")
    with pytest.raises(ValueError, match="method: expected one of 'stepwise', 'exact', got 'fast'"):
        decode(state, w0, rule=GaussianNoise(), steps=[1], samples=2, method="fast")  # type: ignore[arg-type]  # wrong on purpose
