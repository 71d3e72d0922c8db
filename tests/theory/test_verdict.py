"""z-scores that hold: the law gives the variance, and all figures of a run are judged together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from oracles import ALPHA
from ttc_fast import (
    BernoulliSampling,
    Key,
    LinearAttention,
    LinearRegression,
    RunConfig,
    StochasticDecoder,
    Table,
    evaluate,
    overlay,
    run,
)
from ttc_fast.estimators.theory_check import LEVEL, check_against_theory, judge, tail
from ttc_fast.tasks.quadratic import Quadratic
from ttc_fast.theory.binary_techniques import majority_probability, spread_of_mean
from ttc_fast.theory.gaussian import GaussianLaw, spread_of_error
from ttc_fast.theory.quadratic import moments_of_best

LAWFUL = ("greedy", "ridge", "single", "mean", "majority_vote", "plurality", "best_of_n", "oracle_best_of_n")


def random_settings(number: int) -> RunConfig:
    """Of a small run, every time another one: both kinds and all rules, verifiers and techniques with a law; few
    prompts and samples, rare outcomes, chains that diverge, units from 0.01 to 1,000."""
    random = np.random.default_rng(number)

    def one_of(values: Sequence[Any]) -> Any:
        return values[int(random.integers(len(values)))]

    dim = int(random.integers(1, 7))
    rule = one_of(["gaussian", "gaussian", "rank_one", "elementwise", "bernoulli", "bernoulli", "subset"])
    binary = rule in ("bernoulli", "subset")
    link, ones = one_of(["sigmoid", "sigmoid", "clip"]), int(random.integers(1, dim + 1))
    verifier = one_of(["in_context_loss", "held_out_loss", "oracle", "wrong", "smallest_norm"])
    units = 1.0 if binary else 10 ** random.uniform(-2, 3)
    of_rule: dict[str, Any] = {
        "bernoulli": {"link": link, "temperature": 10 ** random.uniform(-1.5, 1) if link == "sigmoid" else None,
                      "sample_at": one_of(["every_step", "last_step"])},
        "subset": {"ones": ones, "nonzero": ones},
    }.get(rule, {"prior": units})  # fmt: skip
    technique = ("ridge" if rule == "rank_one" else "single", *LAWFUL[:1], *LAWFUL[2:])
    config = RunConfig(
        rule=rule, dim=dim, examples=int(random.integers(2, 25)), prompts=int(random.integers(1, 17)),
        steps=tuple({1, int(random.integers(1, 9)), int(random.integers(1, 40))}), samples=int(random.integers(1, 65)),
        label_noise=units * one_of([0.0, 0.1, 1.0]), noise_scale=units * one_of([0.0, 1e-6, 0.01, 0.2, 1.0]),
        noise_schedule=one_of(["constant", "geometric:0.5", "power:1"]) if rule in ("gaussian", "elementwise") else
        "constant", step_size=one_of([None, None, 0.2, 1.0, 1.5]), covariance=(one_of([0.0, 0.0, 1.0]),),
        verifier=verifier, verifier_noise=units * one_of([0.0, 0.0, 0.1]), technique=tuple(dict.fromkeys(technique)),
        metric=("error_norm",) if random.random() < 0.3 else (), seed=number, **of_rule,
    )  # fmt: skip
    return replace(config, noise_scale=RunConfig.noise_scale) if rule == "rank_one" else config


def flagged(numbers: Sequence[int]) -> list[int]:
    """Runs that do not agree with theory."""
    return [number for number in numbers if not run(random_settings(number)).table.theory_check().agrees]


@pytest.mark.slow
def test_a_right_law_is_rarely_refuted() -> None:
    """At most 1 % of 200 random small runs, up to binomial error; none of the first 1,997 is, when last tried."""
    numbers = range(200)
    assert stats.binom.sf(len(flagged(numbers)) - 1, len(numbers), LEVEL) > ALPHA


def test_a_right_law_is_not_refuted_in_a_few_runs() -> None:
    assert flagged(range(5)) == []


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"coefficients": "continuous"}, {"coefficients": "binary", "dim": 8}])
def test_a_law_5_percent_off_is_found(settings: dict[str, Any]) -> None:
    """At the default size, by every technique that samples alone, in each of 4 runs; 0.5 % off, in 18 of 18."""
    for seed in range(4):
        table = run(RunConfig(**settings, seed=seed)).table
        assert table.theory_check().agrees
        assert table.theory is not None
        wrong = replace(table, theory=1.05 * table.theory)
        for technique in {key.technique for key in table.keys} - {"greedy"}:
            assert not wrong.select(technique=technique).theory_check().agrees, technique


def test_a_law_5_percent_off_is_found_in_a_smaller_run() -> None:
    table = run(RunConfig(dim=4, samples=1024, prompts=32, steps=(1, 4))).table
    assert table.theory_check().agrees
    assert table.theory is not None
    wrong = replace(table, theory=1.05 * table.theory)
    for technique in ("single", "mean", "majority_vote", "best_of_n", "oracle_best_of_n"):
        assert not wrong.select(technique=technique).theory_check().agrees, technique


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": (4,), "temperature": 1.0, "seed": 37},  # an outcome with a chance of 10 %: its z was 10.8
        {"prompts": 8, "temperature": 10.0, "steps": (4,)},  # 6.2
        *({"prompts": 8, "samples": 4, "steps": (1, 4), "seed": seed} for seed in range(8)),  # 27 of 40 above 3
    ],
)
def test_rare_outcomes_and_few_prompts(settings: dict[str, Any]) -> None:
    table = run(RunConfig(**{"coefficients": "binary", "dim": 6, "samples": 64, **settings})).table
    verdict = table.theory_check()
    assert verdict.figures > 50
    assert verdict.agrees
    assert verdict.largest < 5


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("settings", [{}, {"sample_at": "last_step", "temperature": 1.0}])
def test_bits_of_a_truth_that_is_none(settings: dict[str, Any], backend: str) -> None:
    """Binary thoughts about continuous coefficients have errors, but no right bits."""
    asked: dict[str, Any] = {"coefficients": "binary", "truth": "continuous", "dim": 3, "backend": backend}
    asked |= {"technique": LAWFUL[:1] + LAWFUL[2:]}
    table = run(RunConfig(**asked, **settings, samples=32, prompts=16, steps=(1, 4))).table
    assert {key.metric for key in table.keys} == {"squared_error", "prediction_risk"}
    assert table.theory_check().figures > 100
    assert table.theory_check().agrees
    with pytest.raises(ValueError, match="w_star: expected zeros and ones, got other coefficients; leave out hamming"):
        run(RunConfig(**asked, samples=4, prompts=4, steps=(1,), metric=("hamming",)))


def test_a_rare_outcome_that_was_drawn_is_no_refutation() -> None:
    """One of 4 x 100 samples hit by a chance of 1e-3; that 20 were is one."""
    p = np.full(4, 1e-3)
    for hits, agrees in ((0, True), (1, True), (3, True), (20, False)):
        measured = np.array([hits / 100, 0, 0, 0])
        check = check_against_theory(measured, p, p * (1 - p) / 100, np.full(4, 1 / 300))
        assert judge({"a": check}).agrees == agrees
        assert check.z == pytest.approx((hits - 0.4) / 400 / math.sqrt(1e-3 * (1 - 1e-3) / 400))


def test_the_bound_holds() -> None:
    """Against exact tails: a mean of m Bernoulli outcomes, Bernstein's scale; a mean of m squares of a normal."""
    for m, p in itertools.product((1, 5, 100, 4096), (1e-4, 0.1, 0.5, 0.999)):
        scale = max(p, 1 - p) / 3 / m
        for difference in np.geomspace(1e-3, 1, 30) * max(p, 1 - p):
            above = stats.binom.sf(math.ceil(m * (p + difference) * (1 - 1e-12)) - 1, m, p)
            below = stats.binom.cdf(math.floor(m * (p - difference) * (1 + 1e-12)), m, p)
            assert above + below <= tail(difference, p * (1 - p) / m, scale) * (1 + 1e-9)
    for m, bias in itertools.product((1, 3, 50), (0.0, 2.0)):
        law, form = isotropic(1, bias)
        variance, scale = (float(x[0, 0]) / m for x in spread_of_error(law, form, [1]))
        for difference in np.geomspace(0.01, 20, 30):
            ends = m * (1 + bias**2 + difference), m * (1 + bias**2 - difference)
            chi2 = stats.chi2(m) if bias == 0 else stats.ncx2(m, m * bias**2)
            assert chi2.sf(ends[0]) + chi2.cdf(ends[1]) <= tail(difference, variance, scale)


def isotropic(dim: int, bias: float) -> tuple[GaussianLaw, Quadratic]:
    """|w|^2 of N((bias, 0, ..., 0), I)."""
    mean = torch.zeros(1, dim).double()
    mean[0, 0] = bias
    return GaussianLaw(mean, torch.eye(dim).double()[None]), Quadratic(
        torch.eye(dim).double()[None], torch.zeros(1, dim).double(), torch.zeros(1).double()
    )


@pytest.mark.parametrize(("dim", "bias"), [(1, 0.0), (3, 0.0), (2, 1.5), (6, 4.0)])
def test_variance_of_gaussian_errors(dim: int, bias: float) -> None:
    """Of one and of the mean of k: that of k^-1 chi^2; of the best of k by its own error: quadrature in sqrt(q)."""
    law, form = isotropic(dim, bias)
    variance, scale = spread_of_error(law, form, [1, 5])
    expected = [stats.ncx2.var(dim, k * bias**2) / k**2 if bias else stats.chi2.var(dim) / k**2 for k in (1, 5)]
    np.testing.assert_allclose(variance[0], expected, rtol=1e-12)
    assert all(2 / k <= float(c) <= 2 / k * dim**0.125 * (1 + 1e-12) for k, c in zip((1, 5), scale[0]))
    chi2 = stats.ncx2(dim, bias**2) if bias else stats.chi2(dim)
    mean, variance = moments_of_best(law, form, [form, form], [1, 8, 512])
    for j, k in enumerate((1, 8, 512)):
        first, second = (
            integrate.quad(lambda r, n=n: 2 * n * r ** (2 * n - 1) * chi2.sf(r * r) ** k, 0, 14 + bias,  # noqa: B023
                           epsabs=1e-14, epsrel=1e-11, limit=400)[0] for n in (1, 2)
        )  # fmt: skip
        assert float(mean[1, 0, j]) == pytest.approx(first, rel=1e-8)
        assert float(variance[1, 0, j]) == pytest.approx(second - first**2, rel=1e-7)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_variance_of_the_best_by_another_score(noise: float) -> None:
    """Matrices that do not commute, against 20,000 simulated choices of 8: mean and variance, each at ALPHA / 2."""
    random = torch.Generator().manual_seed(3)
    root, a, b = (torch.randn(3, 3, generator=random, dtype=torch.float64) for _ in range(3))
    law = GaussianLaw(torch.tensor([[0.5, -1.0, 0.2]]).double(), root[None])
    score, metric = (Quadratic((m @ m.T)[None], m[:1], torch.ones(1).double()) for m in (a, b))
    mean, variance = (float(x[0, 0, 0]) for x in moments_of_best(law, score, [metric], [8], noise=noise))
    w = law.mean[:, None] + torch.randn(20_000, 8, 3, generator=random, dtype=torch.float64) @ root.T

    def of(form: Quadratic) -> torch.Tensor:
        x = w - form.centre[0]
        return ((x @ form.matrix[0]) * x).sum(2) + form.constant

    scores = of(score) + noise * torch.randn(20_000, 8, generator=random, dtype=torch.float64)
    chosen = of(metric).gather(1, scores.argmin(1, keepdim=True))[:, 0].numpy()
    for values, expected in ((chosen, mean), ((chosen - mean) ** 2, variance)):
        assert stats.ttest_1samp(values, expected).pvalue > ALPHA / 2


@pytest.mark.parametrize("k", [1, 2, 3])
def test_variance_of_the_mean_of_bits(k: int) -> None:
    """Against all 4^k draws of k answers; the majority's is at most what its bound says."""
    answers = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    law, matrix, centre = np.array([0.1, 0.4, 0.2, 0.3]), np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([1.0, 0.3])
    draws = np.array(list(itertools.product(range(4), repeat=k)))
    p = law[draws].prod(1)
    gap = answers[draws].mean(1) - centre
    values = ((gap @ matrix) * gap).sum(1)
    variance, most = spread_of_mean(answers, law, matrix, centre, [k])
    np.testing.assert_allclose(variance, p @ values**2 - (p @ values) ** 2, rtol=1e-12)
    assert most == pytest.approx(values.max())
    ones = answers[draws].sum(1)
    error = (np.where(2 * ones == k, 0.5, 2 * ones < k)).mean(1)  # of w* = (1, 1)
    wrong = 1 - majority_probability(law @ answers, k)
    assert p @ error == pytest.approx(wrong.mean())
    assert p @ error**2 - wrong.mean() ** 2 <= np.sqrt(wrong * (1 - wrong)).mean() ** 2


def small(samples: int = 6, dtype: torch.dtype = torch.float32) -> Table:
    prompts = LinearRegression(3, 12, "binary").sample(2, seed=1, dtype=dtype)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=12, dtype=dtype), BernoulliSampling())
    return overlay(decoder, prompts, evaluate(decoder, prompts, steps=2, samples=samples, techniques=LAWFUL[2:]))


def test_variance_of_figures_in_repeated_runs() -> None:
    """Theory's is at least that of 100 runs of other seeds, and not much more where figures are means of groups."""
    prompts = LinearRegression(3, 12, "binary").sample(1, seed=1)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=12), BernoulliSampling(temperature=0.5))
    asked: dict[str, Any] = {"steps": 2, "samples": 8, "techniques": LAWFUL[2:], "budgets": [1, 2, 8]}
    tables = [evaluate(decoder, prompts, seed=seed, **asked) for seed in range(100)]
    found = np.var([table.values[:, 0] for table in tables], axis=0, ddof=1)
    theory = overlay(decoder, prompts, tables[0])
    assert theory.theory_variance is not None
    limit = 1 + 6 * math.sqrt(2 / 100)  # up to the skewness of the figures
    for key, one, expected in zip(theory.keys, found, theory.theory_variance[:, 0]):
        if math.isnan(expected) or expected * 8 < 0.001:
            continue
        assert one < expected * limit, key
        if key.samples in (1, 8) and not (key.technique == "majority_vote" and key.metric != "exact_recovery"):
            assert one > expected / limit**2 or key.metric == "hamming", key


def test_repeats_are_told_and_kept() -> None:
    table = small()
    assert table.repeats is not None
    found = {(key.technique, key.samples): n for key, n in zip(table.keys, table.repeats[:, 0])}
    assert [found["mean", k] for k in (1, 2, 4, 6)] == [6, 3, 1, 1]
    assert found["single", 1] == 6
    mean = table.select(technique="mean", metric="squared_error")
    assert mean.theory_variance is not None
    assert mean.repeats is not None
    assert mean.repeats[:, 0].tolist() == [6, 3, 1, 1]
    searched = run(RunConfig(samples=40, prompts=2, steps=(2,), technique=("beam_search",), budgets=(2, 8, 40))).table
    assert searched.repeats is not None
    assert searched.select(metric="squared_error", coefficients="binary").repeats[:, 0].tolist() == [8, 5, 1]  # type: ignore[index]


def test_without_repeats_there_is_no_variance() -> None:
    """A table of a file from before."""
    table = small()
    prompts = LinearRegression(3, 12, "binary").sample(2, seed=1)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=12), BernoulliSampling())
    old = overlay(decoder, prompts, Table(table.keys, table.prompts, table.values, about=table.about))
    assert old.theory is not None
    np.testing.assert_array_equal(old.theory, table.theory)
    verdict = old.theory_check()
    assert (verdict.figures, verdict.unlikely, verdict.agrees) == (0, None, True)
    assert math.isnan(verdict.p)
    assert {record["z"] for record in old.records()} == {None}


def test_rounding_is_no_refutation() -> None:
    """Chains without noise, in units of 1,000, in float32 and many steps: within rounding, and z says so."""
    for prior in (1e-3, 1.0, 1e3):
        config = RunConfig(
            rule=("gaussian",), prior=prior, label_noise=0.0, technique=("greedy",), steps=(1, 8, 64), prompts=8
        )
        checks = run(replace(config, metric=("error_norm", "in_context_loss"))).table.theory_checks()
        assert len(checks) == 3 * 4
        assert max(abs(check.z) for check in checks.values()) < 2


def test_the_verdict_of_several_figures() -> None:
    """Bonferroni; figures without a variance do not count."""
    one = check_against_theory([0.3], [0.0], [0.01])
    assert one.z == pytest.approx(3)
    assert one.p == pytest.approx(2 * math.exp(-4.5))
    none = check_against_theory([9.0, 9.5], [0.0, 0.0])
    verdict = judge({"a": one, "b": none, "c": check_against_theory([0.0], [0.0], [0.01])})
    assert (verdict.figures, verdict.unlikely) == (2, "a")
    assert verdict.p == pytest.approx(2 * one.p)
    lost = check_against_theory([math.inf, 1.0], [1.0, 1.0], [1.0, 1.0])
    assert math.isnan(lost.z)
    assert judge({"a": lost}).figures == 0
    key = Key("binary", "single", 1, 1, "hamming")
    table = Table((key,), np.array([0]), np.array([[0.9]]), np.array([[0.1]]), theory_variance=np.array([[1e-4]]))
    assert table.theory_check().unlikely == key
    assert not table.theory_check().agrees
