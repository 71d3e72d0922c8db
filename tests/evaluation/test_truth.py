"""The main job against its exact laws; every test alarms falsely once in 10^6 (:data:`oracles.ALPHA`).

They run in float64 on the reference, and in float32 on the fastest backend, whose rounding is far below the
statistical error.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

import oracles
from oracles import ALPHA, Array
from ttc_fast import (
    BernoulliSampling,
    GaussianNoise,
    GeometricDecay,
    Key,
    LinearAttention,
    LinearRegression,
    PowerLawDecay,
    Prompts,
    StochasticDecoder,
    Table,
    evaluate,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.estimators.budgets import powers_of_two

N = 2**15


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    chosen: torch.dtype = request.param
    return chosen


def setting(
    kind: str, dim: int, examples: int, rule: Rule, label_noise: float, dtype: torch.dtype
) -> tuple[Prompts, StochasticDecoder]:
    """Three prompts of a task and a decoder for it."""
    task = LinearRegression(dim, examples, kind, label_noise=label_noise)  # type: ignore[arg-type]  # a Kind
    model = LinearAttention.gradient_descent(dim, examples=examples, dtype=dtype)
    return task.sample(3, seed=11, dtype=dtype), StochasticDecoder(model, rule)


def states(prompts: Prompts, decoder: StochasticDecoder) -> Array:
    state: Array = decoder.model.prefill(prompts).linear.detach().double().numpy()
    return state


def assess(prompts: Prompts, decoder: StochasticDecoder, steps: int, samples: int) -> Table:
    return evaluate(decoder, prompts, steps=steps, samples=samples, seed=5)


GAUSSIAN = [
    (1, 4, 3, GaussianNoise(0.5), 0.0),
    (3, 6, 7, GaussianNoise(0.2), 0.3),
    (3, 2, 6, GaussianNoise(0.3), 0.0),  # fewer examples than coefficients: null modes
    (5, 20, 12, GaussianNoise(GeometricDecay(0.5, 0.8)), 0.1),
    (4, 16, 9, GaussianNoise(PowerLawDecay(0.5, 1.0)), 0.5),
]


@pytest.mark.parametrize(("dim", "examples", "steps", "rule", "label_noise"), GAUSSIAN)
def test_gaussian_mean_and_covariance(
    dim: int, examples: int, steps: int, rule: GaussianNoise, label_noise: float, dtype: torch.dtype
) -> None:
    """Whitened by the exact law, thoughts have N |mean|^2 ~ chi^2_d and sum |z|^2 ~ chi^2_{N d}."""
    prompts, decoder = setting("continuous", dim, examples, rule, label_noise, dtype)
    thoughts = decoder(prompts, steps=[steps], samples=N, seed=5).thoughts[0].double().numpy()
    for state, w in zip(states(prompts, decoder), thoughts):
        mean, covariance = oracles.gaussian_law(state, np.zeros(dim), rule.scales(steps).numpy())
        z = np.linalg.solve(np.linalg.cholesky(covariance), (w - mean).T)
        assert stats.chi2.sf(N * (z.mean(1) ** 2).sum(), dim) > ALPHA
        total = (z**2).sum()
        assert 2 * min(stats.chi2.sf(total, N * dim), stats.chi2.cdf(total, N * dim)) > ALPHA
        for i in range(dim):
            assert stats.kstest(z[i], "norm").pvalue > ALPHA
            for j in range(i):
                assert stats.pearsonr(z[i], z[j]).pvalue > ALPHA


@pytest.mark.parametrize(("dim", "examples", "steps", "rule", "label_noise"), GAUSSIAN)
def test_gaussian_error_of_one_decode_and_of_means(
    dim: int, examples: int, steps: int, rule: GaussianNoise, label_noise: float, dtype: torch.dtype
) -> None:
    """E |mean of k - w*|^2 = |mu - w*|^2 + tr(Cov)/k, for squared error and prediction risk.

    A quadratic form of a Gaussian has variance 2 tr(C^2) + 4 m^T C m, C = Cov / k. The mean over G >= 4096
    groups is compared at the quantile of the normal law; its skewness, below 2^1.5 / G^0.5, can raise the
    false-alarm rate to 3 in 10^6.
    """
    prompts, decoder = setting("continuous", dim, examples, rule, label_noise, dtype)
    table = assess(prompts, decoder, steps, N)
    limit = stats.norm.isf(ALPHA / 2)
    assert prompts.w_star is not None
    for b, (state, w_star) in enumerate(zip(states(prompts, decoder), prompts.w_star.double().numpy())):
        mean, covariance = oracles.gaussian_law(state, np.zeros(dim), rule.scales(steps).numpy())
        m = mean - w_star
        for k in [k for k in powers_of_two(N) if N // k >= 4096]:
            C = covariance / k
            expected = m @ m + np.trace(C)
            error = np.sqrt((2 * np.trace(C @ C) + 4 * m @ C @ m) * k / N)
            for metric, unit in (("squared_error", dim), ("prediction_risk", 1)):
                got = table[Key("continuous", "mean", steps, k, metric)][b] * unit
                assert abs(got - expected) < limit * error, (b, k, metric)
        single = table[Key("continuous", "single", steps, 1, "squared_error")][b]
        assert single == pytest.approx(table[Key("continuous", "mean", steps, 1, "squared_error")][b], rel=1e-5)


Law = Callable[[Array, Array, int, Callable[[Array], Array]], Array]
BINARY = [
    (1, 4, 2, BernoulliSampling("sigmoid", 0.5), 0.3),
    (3, 6, 1, BernoulliSampling("sigmoid", 0.25), 0.0),
    (3, 6, 6, BernoulliSampling("clip"), 0.5),
    (4, 8, 9, BernoulliSampling("sigmoid", 0.3), 0.2),
    (4, 12, 4, BernoulliSampling("sigmoid", 0.3, "last_step"), 0.2),
    (4, 12, 3, BernoulliSampling("clip", sample_at="last_step"), 0.2),
]


def exact_law(rule: BernoulliSampling, state: Array, dim: int, steps: int) -> Array:
    probability = oracles.clip if rule.temperature is None else oracles.sigmoid(rule.temperature)
    law: Law = oracles.binary_law if rule.sample_at == "every_step" else oracles.last_step_law
    return law(state, np.zeros(dim), steps, probability)


@pytest.mark.parametrize(("dim", "examples", "steps", "rule", "label_noise"), BINARY)
def test_binary_law_is_the_markov_chain(
    dim: int, examples: int, steps: int, rule: BernoulliSampling, label_noise: float, dtype: torch.dtype
) -> None:
    """Counts of the 2^d thoughts against the exact law, by Pearson's chi^2 (rare thoughts pooled)."""
    prompts, decoder = setting("binary", dim, examples, rule, label_noise, dtype)
    thoughts = decoder(prompts, steps=[steps], samples=N, seed=5).thoughts[0].double().numpy()
    for state, w in zip(states(prompts, decoder), thoughts):
        expected = N * exact_law(rule, state, dim, steps)
        number = (w @ 2.0 ** np.arange(dim)[::-1]).astype(int)
        counts = np.bincount(number, minlength=2**dim)
        common = expected >= 10
        assert stats.binomtest(int(counts[~common].sum()), N, min(expected[~common].sum() / N, 1.0)).pvalue > ALPHA
        if common.sum() > 1:
            share = counts[common].sum() / expected[common].sum()
            assert stats.chisquare(counts[common], expected[common] * share).pvalue > ALPHA


@pytest.mark.parametrize(("dim", "examples", "steps", "rule", "label_noise"), BINARY)
def test_binary_techniques(
    dim: int, examples: int, steps: int, rule: BernoulliSampling, label_noise: float, dtype: torch.dtype
) -> None:
    """Majority of k (odd, and even with fair ties), oracle best-of-k, and mean of k against the exact law.

    Groups are independent and their errors lie in [0, 1]: by Hoeffding's inequality the mean over G of
    them is off by more than sqrt(ln(2 / alpha) / 2G) with probability below alpha.
    """
    prompts, decoder = setting("binary", dim, examples, rule, label_noise, dtype)
    table = assess(prompts, decoder, steps, N)
    strings = oracles.bit_strings(dim)
    assert prompts.w_star is not None
    for b, (state, w_star) in enumerate(zip(states(prompts, decoder), prompts.w_star.double().numpy())):
        law = exact_law(rule, state, dim, steps)
        q = law @ strings
        for k in [k for k in powers_of_two(N) if N // k >= 512]:
            bound = np.sqrt(np.log(2 / ALPHA) / 2 / (N // k))
            right = oracles.majority_right(np.where(w_star == 1, q, 1 - q), k)
            wrong = strings != w_star
            none_right = law[wrong.any(1)].sum() ** k
            expected = {
                ("majority_vote", "hamming"): 1 - right.mean(),
                ("majority_vote", "squared_error"): 1 - right.mean(),
                ("oracle_best_of_n", "exact_recovery"): 1 - none_right,
                ("mean", "squared_error"): ((q - w_star) ** 2 + q * (1 - q) / k).mean(),
            }
            if label_noise == 0:  # w* alone has loss 0
                expected["best_of_n", "exact_recovery"] = 1 - none_right
            for (technique, metric), value in expected.items():
                got = table[Key("binary", technique, steps, k, metric)][b]
                assert abs(got - value) < bound, (b, k, technique, metric)


@pytest.mark.parametrize("votes", [1, 2, 3, 4, 6])
def test_majority_vote_to_three_digits(votes: int, dtype: torch.dtype) -> None:
    """As above with 200,000 equal prompts of one coefficient: ties of even votes are fair."""
    count = 200_000
    x, y = torch.ones(count, 1, 1, dtype=dtype), torch.full((count, 1), 0.45, dtype=dtype)
    prompts = Prompts(x, y, torch.ones(count, 1, dtype=dtype))
    model = LinearAttention.gradient_descent(1, step_size=1.0, dtype=dtype)
    decoder = StochasticDecoder(model, BernoulliSampling("sigmoid", 0.25))
    table = evaluate(decoder, prompts, steps=1, samples=votes, seed=3)
    right = 1 - table[Key("binary", "majority_vote", 1, votes, "hamming")].mean()
    q = oracles.sigmoid(0.25)(np.array(0.45))
    assert abs(right - oracles.majority_right(q, votes)) < np.sqrt(np.log(2 / ALPHA) / 2 / count)
