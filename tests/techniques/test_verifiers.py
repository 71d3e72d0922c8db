"""Verifiers: what they score, and how selection by a faulty one goes wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from oracles import ALPHA, Array
from ttc_fast import (
    BernoulliSampling,
    GaussianNoise,
    Key,
    LinearAttention,
    LinearRegression,
    Prompts,
    StochasticDecoder,
    evaluate,
    overlay,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.tasks import metrics
from ttc_fast.techniques.faulty_verifiers import NoisyVerifier, WrongVerifier
from ttc_fast.techniques.verifiers import HeldOutLoss, InContextLoss, Oracle, ProcessReward, SmallestNorm, Verifier

SIGMA = 0.7


def simple(count: int, dim: int) -> tuple[Prompts, StochasticDecoder]:
    """S = I and no bias: the first thought is w* + sigma xi, its in-context loss |w - w*|^2 / 2."""
    x = (np.sqrt(dim) * torch.eye(dim, dtype=torch.float64)).expand(count, -1, -1)
    w_star = torch.rand(count, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prompts = Prompts(x, (x * w_star[:, None]).sum(2), w_star)
    model = LinearAttention.gradient_descent(dim, step_size=1.0, dtype=torch.float64)
    return prompts, StochasticDecoder(model, GaussianNoise(SIGMA))


def errors(prompts: Prompts, decoder: StochasticDecoder, technique: str, k: int, verifier: Verifier) -> Array:
    """|w - w*|^2 of every prompt."""
    table = evaluate(decoder, prompts, steps=1, samples=64, seed=5, techniques=[technique], verifier=verifier)
    return table[Key("continuous", technique, 1, k, "squared_error")] * prompts.x.shape[2]


@pytest.mark.parametrize(
    ("dim", "k", "law"),
    [(1, 4, 0.120702), (1, 64, 0.000733), (2, 4, 0.5), (2, 64, 2 / 64), (5, 4, 2.252913), (5, 64, 0.599194)],
)
def test_best_of_n_by_loss_without_bias(dim: int, k: int, law: float) -> None:
    """In units of sigma^2, theory 2a: at d = 2 exactly what averaging gives, 2 / N. A t test at ALPHA."""
    prompts, decoder = simple(600, dim)
    got = errors(prompts, decoder, "best_of_n", k, InContextLoss()) / SIGMA**2
    assert stats.ttest_1samp(got, law).pvalue > ALPHA
    averaged = errors(prompts, decoder, "mean", k, InContextLoss()) / SIGMA**2
    assert stats.ttest_1samp(averaged, dim / k).pvalue > ALPHA


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_exponent_of_best_of_n(dim: int) -> None:
    """E ~ Gamma(1 + 2/d) (N C)^(-2/d): the mean over prompts at k = 16 and 64 is the exact law's, whose slope from
    10^4 to 10^6 is -2/d to 1 %."""

    def law(k: int) -> float:
        r = np.geomspace(1e-18, 60, 400_001)
        return float(integrate.trapezoid(stats.chi2.sf(r, dim) ** k, r))

    assert np.log(law(10**6) / law(10**4)) / np.log(100) == pytest.approx(-2 / dim, rel=0.01)
    prompts, decoder = simple(600, dim)
    for k in (16, 64):
        got = errors(prompts, decoder, "best_of_n", k, InContextLoss()) / SIGMA**2
        assert stats.ttest_1samp(got, law(k)).pvalue > ALPHA


def test_a_wrong_verifier_has_a_finite_best_k() -> None:
    """One coefficient, w_R = w* + a: the exact law of theory 2a (misaligned reward), t tests at ALPHA; its best k
    lies inside, and more samples then make it worse, towards a^2."""
    a = 1.2 * SIGMA

    def law(k: int) -> float:
        r = np.geomspace(1e-9, 12 * SIGMA, 400_001)
        further = stats.norm.sf(a + r, 0, SIGMA) + stats.norm.cdf(a - r, 0, SIGMA)
        ahead, behind = stats.norm.pdf(a + r, 0, SIGMA), stats.norm.pdf(a - r, 0, SIGMA)
        inner = k * further ** (k - 1) * ((a + r) ** 2 * ahead + (a - r) ** 2 * behind)
        return float(integrate.trapezoid(inner, r))

    prompts, decoder = simple(2000, 1)
    assert prompts.w_star is not None
    verifier = WrongVerifier(prompts.w_star + a)
    ks = [1, 2, 4, 16, 64]
    for k in ks:
        assert stats.ttest_1samp(errors(prompts, decoder, "best_of_n", k, verifier), law(k)).pvalue > ALPHA, k
    assert 0 < int(np.argmin([law(k) for k in ks])) < len(ks) - 1
    assert law(10**4) == pytest.approx(a**2, rel=1e-3)


def test_a_drawn_wrong_aim_belongs_to_the_prompt() -> None:
    """w_R = w* + S xi: the xi of 500 prompts are normal (Kolmogorov and Smirnov, at ALPHA), whatever the batch."""
    prompts = LinearRegression(3, 8).sample(500, dtype=torch.float64)
    assert prompts.w_star is not None
    verifier = WrongVerifier(0.4, seed=5)
    aim = verifier.aim(prompts)
    assert stats.kstest(((aim - prompts.w_star) / 0.4).flatten().numpy(), "norm").pvalue > ALPHA
    assert torch.equal(verifier.aim(prompts.part(3, 7)), aim[3:7])
    assert not torch.equal(WrongVerifier(0.4, seed=6).aim(prompts), aim)
    w = torch.rand(500, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(verifier.score(prompts, w), WrongVerifier(aim).score(prompts, w))
    assert torch.equal(verifier.score(prompts.part(3, 7), w[3:7]), verifier.score(prompts, w)[3:7])
    assert torch.equal(WrongVerifier(0.0).aim(prompts), prompts.w_star)


def test_noise_turns_an_oracle_into_a_coin() -> None:
    prompts, decoder = simple(300, 3)
    oracle = errors(prompts, decoder, "best_of_n", 16, Oracle())
    assert np.array_equal(errors(prompts, decoder, "best_of_n", 16, NoisyVerifier()), oracle)
    assert np.array_equal(errors(prompts, decoder, "best_of_n", 16, NoisyVerifier(bias=3.0)), oracle)
    coin = errors(prompts, decoder, "best_of_n", 16, NoisyVerifier(noise=1e6))
    single = errors(prompts, decoder, "single", 1, Oracle())
    assert stats.ttest_1samp(coin - single, 0.0).pvalue > ALPHA
    fooled = errors(prompts, decoder, "best_of_n", 16, NoisyVerifier(false_positive_rate=1.0))
    np.testing.assert_allclose(fooled, single)  # all scores are equal: a fair draw
    between = errors(prompts, decoder, "best_of_n", 16, NoisyVerifier(noise=0.2, false_positive_rate=0.05)).mean()
    assert oracle.mean() < between < single.mean()


def test_noise_belongs_to_the_sample() -> None:
    prompts = LinearRegression(3, 8).sample(4)
    w = torch.rand(4, 10, 3)
    verifier = NoisyVerifier(InContextLoss(), noise=1.0, false_positive_rate=0.3, seed=7)
    whole = verifier.score(prompts, w, step=3)
    part = verifier.score(prompts.part(1, 3), w[1:3, 4:9], first_sample=4, step=3)
    assert torch.equal(whole[1:3, 4:9], part)
    assert not torch.equal(verifier.score(prompts, w, step=4), whole)


def test_held_out_loss() -> None:
    prompts = LinearRegression(3, 8, label_noise=0.3).sample(2)
    verifier, w = HeldOutLoss(2), torch.rand(2, 4, 3)
    assert verifier.context(prompts).x.shape == (2, 6, 3)
    by_hand = ((prompts.y[:, None, 6:] - w @ prompts.x[:, 6:].mT) ** 2).mean(2) / 2
    torch.testing.assert_close(verifier.score(prompts, w), -by_hand)
    with pytest.raises(ValueError, match="examples: expected fewer than the prompt's 8, got 8"):
        HeldOutLoss(8).score(prompts, w)


def test_smallest_norm_by_hand() -> None:
    prompts, w = LinearRegression(3, 8).sample(1), torch.tensor([[[2.0, -1.0, 2.0], [0.0, 0.0, 0.0], [0.0, -5.0, 0.0]]])
    assert SmallestNorm() == SmallestNorm(p=2)
    assert SmallestNorm().score(prompts, w).tolist() == [[-3, 0, -5]]
    assert SmallestNorm(1).score(prompts, w).tolist() == [[-5, 0, -5]]
    assert SmallestNorm().score(Prompts(prompts.x, -prompts.y), w).tolist() == [[-3, 0, -5]]


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smallest_norm_does_not_depend_on_the_chunk(p: Any, dtype: torch.dtype) -> None:
    prompts = LinearRegression(13, 20).sample(5)
    w, verifier = torch.randn(5, 301, 13, generator=torch.Generator().manual_seed(0), dtype=dtype), SmallestNorm(p)
    whole = verifier.score(prompts, w)
    torch.testing.assert_close(whole, -torch.linalg.vector_norm(w, p, dim=2))
    for first, last in ((0, 1), (1, 60), (60, 301)):
        assert torch.equal(verifier.score(prompts.part(2, 4), w[2:4, first:last]), whole[2:4, first:last])
    assert torch.equal(verifier.score(prompts, w.mT.contiguous().mT), whole)


@pytest.mark.parametrize("rule", [GaussianNoise(0.4), BernoulliSampling()])
@pytest.mark.parametrize("p", [1, 2])
def test_smallest_norm_against_theory(rule: Rule, p: Any) -> None:
    """Best-of-N of the smallest answer: a t test on the scale of the normal law for every budget and metric, 14 of each
    law, with a false alarm of any with probability 14 * ALPHA. The norm of bits grows with their number, so that both
    have ties."""
    prompts = LinearRegression(4, 20, "binary" if rule.binary else "continuous", label_noise=0.3).sample(
        100, seed=6, dtype=torch.float64
    )
    decoder = StochasticDecoder(LinearAttention.gradient_descent(4, examples=20, dtype=torch.float64), rule)
    verifier, limit = SmallestNorm(p), stats.norm.isf(ALPHA / 2)
    table = evaluate(decoder, prompts, steps=5, samples=64, seed=1, techniques=["best_of_n"], verifier=verifier)
    checks = overlay(decoder, prompts, table, verifier=verifier).theory_checks()
    lawful = [k for k in checks if k.metric in ("squared_error", "prediction_risk")]
    assert len(lawful) == (0 if p == 1 and not rule.binary else 14)
    assert max((abs(check.z) for check in checks.values()), default=0.0) < limit
    if lawful:  # the smallest answers are not the best ones
        most, one = (table[Key(*lawful[0][:3], k, "squared_error")].mean() for k in (64, 1))
        assert most > one


def test_smallest_norm_as_a_quadratic_is_an_order() -> None:
    """Noise is added to the norm, not to its square, so that there is no law of both together."""
    prompts = LinearRegression(3, 8).sample(2)
    w = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    score = SmallestNorm().as_quadratic(prompts)
    assert score is not None
    square = torch.stack([score.form(w[:, i]) for i in range(50)], 1)
    torch.testing.assert_close(square, SmallestNorm().score(prompts, w).square())
    assert score.order_only
    assert NoisyVerifier(SmallestNorm(), noise=0.1).as_quadratic(prompts) is None
    same = NoisyVerifier(SmallestNorm(), bias=0.1).as_quadratic(prompts)
    assert same is not None
    assert same.order_only
    assert SmallestNorm(1).as_quadratic(prompts) is None


def test_process_reward() -> None:
    prompts, thoughts = LinearRegression(3, 8).sample(2), torch.rand(4, 2, 5, 3)
    scores = -torch.stack([metrics.in_context_loss(prompts, w) for w in thoughts])
    for reduce, expected in (
        ("last", scores[-1]),
        ("min", scores.min(0).values),
        ("mean", scores.mean(0)),
        ("sum", scores.sum(0)),
    ):
        reward = ProcessReward(InContextLoss(), reduce)  # type: ignore[arg-type]  # a literal above
        got = reward.score_chain(prompts, thoughts, (1, 2, 3, 4))
        torch.testing.assert_close(got, expected)


def test_work_is_counted() -> None:
    prompts = LinearRegression(3, 8).sample(1)
    counted: list[Verifier] = [InContextLoss(), HeldOutLoss(2), Oracle(), NoisyVerifier(Oracle())]
    assert [verifier.work(prompts) for verifier in counted] == [32, 8, 3, 3]
    assert WrongVerifier(torch.zeros(3)).work(prompts) == 32
    assert SmallestNorm().work(prompts) == SmallestNorm(1).work(prompts) == 3


def test_wrong_arguments() -> None:
    prompts = LinearRegression(3, 8).sample(2)
    with pytest.raises(ValueError, match="false_positive_rate: expected a finite number from 0 to 1"):
        NoisyVerifier(false_positive_rate=1.5)
    with pytest.raises(ValueError, match=r"w_r: expected shape \[d\] or \[P, d\] for d = 3, got \[4\]"):
        WrongVerifier(torch.zeros(4)).score(prompts, torch.zeros(2, 1, 3))
    with pytest.raises(ValueError, match="w_r: expected a finite number of at least 0, got -1"):
        WrongVerifier(-1.0)
    with pytest.raises(ValueError, match="w_star: expected the true coefficients"):
        WrongVerifier(1.0).score(Prompts(prompts.x, prompts.y), torch.zeros(2, 1, 3))
    for p in (0, 3, 1.5, "inf"):
        with pytest.raises(ValueError, match=f"p: expected one of 1, 2, got {p!r}"):
            SmallestNorm(p)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="reduce: expected one of"):
        ProcessReward(reduce="median")  # type: ignore[arg-type]  # wrong on purpose
