"""Samples of a laboratory are known as such, whatever drew them, and its laws agree with decodes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from logs.samples import sampled
from ttc_fast.decoding.authors_rules import SubsetSampling
from ttc_fast.decoding.rules import BernoulliSampling, GaussianNoise, Rule
from ttc_fast.logs.fit import Fit, fit
from ttc_fast.logs.laboratory import nearest_settings
from ttc_fast.models.decoder import StochasticDecoder
from ttc_fast.models.linear_attention import LinearAttention
from ttc_fast.tasks.linear_regression import LinearRegression
from ttc_fast.theory.regressions import (
    PROMPTS,
    Answers,
    BinaryRegression,
    ContinuousRegression,
    Setting,
    usual_settings,
)

BITS = BinaryRegression(BernoulliSampling(temperature=0.2), 0.5, dim=4, examples=8, steps=4)
LAST = BinaryRegression(BernoulliSampling(temperature=0.2, sample_at="last_step"), 0.5, dim=4, examples=8, steps=4)
SETS = BinaryRegression(SubsetSampling(2), 0.5, dim=4, examples=8, steps=4)
CONTINUOUS = ContinuousRegression(GaussianNoise(0.2), 0.5, dim=4, examples=8, steps=4, threshold=0.15)
KINDS = [BITS, LAST, SETS, CONTINUOUS]


def some_settings() -> list[Setting]:
    """54 binary and 18 continuous ones, with the four."""
    rules: list[Rule] = [BITS.rule, LAST.rule, SETS.rule]
    sizes = list(product((0.0, 0.5, 2.0), (4,), (8, 16), (1, 4, 16)))
    binary = [BinaryRegression(rule, *size) for rule, size in product(rules, sizes)]
    scales = [GaussianNoise(scale) for scale in (0.05, 0.2)]
    return [*binary, *(ContinuousRegression(rule, *size, 0.1) for rule, size in product(scales, sizes[:9]))]


def log_of(setting: Setting, samples: int = 16) -> Fit:
    """The fit of samples of 6 times its prompts; where no two answers agree all wrong ones are one."""
    answers = setting.answers()
    wrong = 1 - answers.right[:, None] if answers.wrong is None else answers.wrong
    p = np.maximum(np.hstack((answers.right[:, None], wrong)), 0.0)
    p = np.tile(p / p.sum(axis=1, keepdims=True), (6, 1))
    return fit(sampled(p, samples, 5), [1, 4, 16], resamples=2)


@pytest.mark.parametrize("setting", KINDS)
def test_a_laboratory_finds_itself(setting: BinaryRegression | ContinuousRegression) -> None:
    """384 prompts x 16 samples: a mean over prompts has a standard error of at most 0.5 / sqrt(384) = 0.026 if they
    are drawn, less here as they repeat 64; so 0.03 bounds the distance. The nearest is as near as the true one."""
    log = log_of(setting)
    found = next(one for one in nearest_settings(log, some_settings()) if one.setting.kind == setting.kind)
    itself = nearest_settings(log, [setting])[0]
    assert itself.distance < 0.03
    assert found.distance <= itself.distance
    if setting.kind == BITS.kind:
        assert found.setting == setting
    else:
        assert itself.setting.facts()["threshold"] == pytest.approx(CONTINUOUS.threshold, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("setting", [one for i, one in enumerate(usual_settings()) if i % 311 == 7])
def test_among_all_settings(setting: Setting) -> None:
    """As above, among all that the command compares: nearer than 0.03, however many are alike."""
    found = nearest_settings(log_of(setting.tuned(0.4)))
    assert next(one for one in found if one.setting.kind == setting.kind).distance < 0.03


@pytest.mark.parametrize("setting", KINDS)
def test_probabilities_agree_with_decodes(setting: BinaryRegression | ContinuousRegression) -> None:
    """Of 2,000 decodes of each of 64 prompts as many are right as the law says: the least of 64 binomial p-values, all
    above 1e-6 / 64, is false in one of a million runs."""
    binary, ones = setting.kind == BITS.kind, getattr(setting.rule, "ones", None)
    kind = "binary" if binary else "continuous"
    task = LinearRegression(setting.dim, setting.examples, kind, label_noise=setting.label_noise, nonzero=ones)  # type: ignore[arg-type]
    prompts = task.sample(PROMPTS, seed=0)
    model = LinearAttention.gradient_descent(setting.dim, examples=setting.examples)
    found = StochasticDecoder(model, setting.rule)(prompts, steps=[setting.steps], samples=2000, seed=3)
    assert prompts.w_star is not None
    error = (found.thoughts[0] - prompts.w_star[:, None]).square().mean(2)
    right = (error <= (0.0 if binary else CONTINUOUS.threshold)).sum(1)
    p = np.clip(setting.answers().right, 0, 1)
    assert min(binomtest(int(c), 2000, float(one)).pvalue for c, one in zip(right, p)) > 1e-6 / PROMPTS
    assert p.std() > 0.1  # prompts differ
    wrong = setting.answers().wrong
    if wrong is not None:
        np.testing.assert_allclose(p + wrong.sum(axis=1), 1, atol=1e-12)


def test_settings_of_a_users_own() -> None:
    """Any object with ``answers``; of a kind of its own, found beside ours."""

    class Solved:
        kind = "by rote"

        def __init__(self, share: float) -> None:
            self.share = share

        def answers(self) -> Answers:
            return Answers(np.where(np.arange(100) < 100 * self.share, max(self.share, 1.0), 0.0))

        def __repr__(self) -> str:
            return f"Solved({self.share})"

    p = np.repeat([[1.0, 0.0], [0.0, 1.0]], [30, 70], axis=0)
    asked: list[Setting] = [Solved(0.1), Solved(0.3), BITS]  # type: ignore[list-item]  # has what is needed
    found = nearest_settings(fit(sampled(p, 8, 0), [1, 4], resamples=5), asked)
    assert [one.setting.kind for one in found] == ["by rote", "binary coefficients"]
    assert found[0].setting.facts() == {"setting": "Solved(0.3)"}
    assert found[0].distance < 0.02
    assert list(found[0].curves) == ["pass@k"]
    with pytest.raises(TypeError, match="settings: expected an object with the method answers"):
        nearest_settings(fit(sampled(p, 8, 0), [1], resamples=2), [3])  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(ValueError, match="settings: expected at least one"):
        nearest_settings(fit(sampled(p, 8, 0), [1], resamples=2), [])
    with pytest.raises(ValueError, match="settings: expected probabilities as right"):
        nearest_settings(fit(sampled(p, 8, 0), [1], resamples=2), [Solved(2.0)])  # type: ignore[list-item]


def test_a_threshold_is_chosen() -> None:
    """The share of right answers is the asked one within five standard errors of the 64 x 256 draws that choose it."""
    for single in (0.05, 0.5, 0.9):
        tuned = CONTINUOUS.tuned(single)
        assert tuned.answers().right.mean() == pytest.approx(single, abs=5 * 0.5 / (64 * 256) ** 0.5)
    with pytest.raises(ValueError, match="threshold: expected"):
        ContinuousRegression(GaussianNoise(0.2), 0.5, 4, 8, 4, -1.0).answers()
