"""Rules as parts: values that compare, schedules of one's own, and rules without a kernel on the chain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import oracles
from decoding_problems import RULES, problem
from oracles import ALPHA
from ttc_fast import (
    BernoulliSampling,
    Draws,
    GaussianNoise,
    GeometricDecay,
    LinearAttention,
    LinearRegression,
    PowerLawDecay,
    StochasticDecoder,
    decode,
)
from ttc_fast.decoding import chain, reference
from ttc_fast.decoding.backends import decoded
from ttc_fast.decoding.rules import Rule


@dataclass(frozen=True)
class UniformNoise:
    """A user's rule: noise uniform in [-a, a); :class:`Rule` gives it the rest."""

    a: float

    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        return u + self.a * (2 * draws.uniform() - 1)


class PlainNoise:
    """:class:`GaussianNoise` by a user who knows of no kernels."""

    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        return u + 0.3 * draws.normal()


@dataclass(frozen=True)
class Cosine:
    """A user's schedule."""

    period: int

    def scales(self, steps: int) -> Tensor:
        return 0.2 + 0.1 * torch.cos(2 * torch.pi * torch.arange(steps, dtype=torch.float64) / self.period)


def own(rule: Any) -> Rule:
    """A user's rule as the type checker wants it: with the defaults that it lacks."""
    return rule  # type: ignore[no-any-return]  # completed by whoever takes it


def test_rules_are_values() -> None:
    """Equal and hashed by what they say, however their numbers were given."""
    listed = [0.5, 0.25]
    same = {GaussianNoise(listed), GaussianNoise((0.5, 0.25)), GaussianNoise(torch.tensor(listed))}
    assert len(same) == 1
    listed[0] = 9.0  # a rule keeps its own numbers
    assert GaussianNoise([0.5, 0.25]) in same
    rules = [
        GaussianNoise(0.5),
        GaussianNoise([0.5]),
        GaussianNoise(GeometricDecay(0.5, 0.9)),
        GaussianNoise(PowerLawDecay(0.5, 0.9)),
        GaussianNoise(Cosine(4)),
        BernoulliSampling(),
        BernoulliSampling("clip"),
        BernoulliSampling(sample_at="last_step"),
    ]
    assert len(set(rules)) == len(rules)
    assert BernoulliSampling() == BernoulliSampling("sigmoid", 0.25)
    assert GaussianNoise(Cosine(4)) == GaussianNoise(Cosine(4))


@pytest.mark.parametrize("rule", [*RULES, BernoulliSampling("sigmoid", 0.0), GaussianNoise([0.3, 0.0, 0.1, 0.2])])
def test_encoded_rule_is_the_same_rule(rule: Rule) -> None:
    """What kernels are told is what the reference does."""
    encoded = rule.encode(4)
    assert encoded is not None
    again = decoded(encoded)
    assert again.binary == rule.binary
    state, w0 = problem(2, 3, torch.float64)
    arguments: dict[str, Any] = {"steps": range(5), "samples": 6, "seed": 8}
    one, two = (reference.decode(state, w0, rule=r, **arguments) for r in (rule, again))
    assert torch.equal(one, two)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_schedule_of_a_user(backend: str) -> None:
    """It runs like the list of its numbers, at every step and where a chain is resumed."""
    state, w0 = problem(2, 5)
    arguments: dict[str, Any] = {"steps": [3, 7], "samples": 9, "seed": 1, "backend": backend}
    rule, listed = GaussianNoise(Cosine(4)), GaussianNoise(Cosine(4).scales(7))
    whole = decode(state, w0, rule=rule, **arguments).thoughts
    assert torch.equal(whole, decode(state, w0, rule=listed, **arguments).thoughts)
    assert torch.equal(whole, decode(state, whole[0], rule=rule, first_step=3, **arguments).thoughts)
    assert not decode(state, w0, rule=rule.greedy(), **arguments).thoughts.diff(dim=2).any()


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        (lambda steps: torch.ones(steps + 1), "noise_scale: expected 3 finite numbers >= 0 "),
        (lambda steps: -torch.ones(steps), "noise_scale: expected 3 finite numbers >= 0 "),
        (lambda steps: torch.linspace(1, 0, steps), "noise_scale: expected a scale of each step whatever their number"),
    ],
)
def test_schedule_of_a_user_is_checked(scales: Any, message: str) -> None:
    schedule = type("Own", (), {"scales": lambda self, steps: scales(steps)})()
    with pytest.raises(ValueError, match=re.escape(message)):
        decode(*problem(1, 2), rule=GaussianNoise(schedule), steps=[3], samples=1)


def test_rule_without_kernel_has_its_exact_law() -> None:
    """Mean and covariance of a linear recursion whose noise has variance a^2 / 3.

    Of N samples a mean is normal with variance C_ii / N, a covariance nearly so with at most (C_ii C_jj + C_ij^2) / N:
    the fourth cumulants of uniform noise are negative. Nine figures share the false-alarm rate ALPHA.
    """
    a, samples, steps, dim = 0.4, 40_000, 6, 3
    state, w0 = problem(1, dim, torch.float64)
    thoughts = decode(state, w0, rule=own(UniformNoise(a)), steps=[steps], samples=samples, seed=2).thoughts[0, 0]
    mean, covariance = oracles.gaussian_law(state[0].numpy(), w0[0].numpy(), np.full(steps, a / 3**0.5))
    limit = stats.norm.isf(ALPHA / 9 / 2)
    variance = np.diag(covariance)
    assert (np.abs(thoughts.mean(0).numpy() - mean) < limit * np.sqrt(variance / samples)).all()
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / samples)
    assert (np.abs(np.cov(thoughts.numpy().T) - covariance) < limit * error).all()
    first, before = (decode(state, w0, rule=own(UniformNoise(a)), steps=[t], samples=99).thoughts for t in (1, 0))
    noise = first[0, 0] - reference.output(state, before[0])[0]
    assert noise.abs().max() <= a  # it is uniform noise


def test_rule_without_kernel_runs_on_the_chain_only() -> None:
    """There it is the reference, to the bit, with the first of more samples; other backends refuse it."""
    state, w0 = problem(3, 4)
    arguments: dict[str, Any] = {"steps": [1, 2, 6], "seed": 5}
    for rule in map(own, (UniformNoise(0.3), PlainNoise())):
        out = decode(state, w0, rule=rule, samples=200, **arguments)
        assert out.backend == "reference"
        assert torch.equal(out.thoughts[:, :, :10], decode(state, w0, rule=rule, samples=10, **arguments).thoughts)
        shard = decode(state[1:], w0[1:], rule=rule, samples=7, first_sample=9, first_prompt=1, **arguments)
        assert torch.equal(out.thoughts[:, 1:, 9:16], shard.thoughts)
        with pytest.raises(ValueError, match=r"backend: 'native' cannot run: the rule .*Noise.* has no kernel"):
            decode(state, w0, rule=rule, samples=2, backend="native", **arguments)
        with pytest.raises(ValueError, match=r"method: expected 'stepwise' for .*Noise"):
            decode(state, w0, rule=rule, samples=2, method="exact", **arguments)
    same = decode(state, w0, rule=GaussianNoise(0.3), samples=200, backend="reference", **arguments).thoughts
    assert torch.equal(out.thoughts, same)  # of PlainNoise, the last one


@pytest.mark.parametrize("rule", [*RULES, UniformNoise(0.3)])
def test_reference_is_the_chain_of_the_linear_output(rule: Any) -> None:
    state, w0 = problem(3, 4)
    arguments: dict[str, Any] = {"steps": [0, 1, 5], "samples": 33, "seed": 5, "first_sample": 3, "first_prompt": 8}
    chained = chain.decode(lambda: partial(reference.output, state), w0, rule=_complete(rule), **arguments)
    assert torch.equal(decode(state, w0, rule=rule, backend="reference", **arguments).thoughts, chained)


def _complete(rule: Any) -> Rule:
    return StochasticDecoder(LinearAttention.gradient_descent(4, examples=8), rule).rule


def test_greedy_of_a_rule_of_a_user_is_without_noise() -> None:
    prompts = LinearRegression(4, 8).sample(2)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(4, examples=8), own(UniformNoise(0.3)))
    plain = StochasticDecoder(decoder.model, decoder.rule.greedy())(prompts, steps=3, samples=2, backend="reference")
    free = StochasticDecoder(decoder.model, GaussianNoise(0.0))(prompts, steps=3, samples=2, backend="reference")
    assert torch.equal(plain.thoughts, free.thoughts)
