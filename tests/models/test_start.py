"""Chains that begin elsewhere than at zero: the numbers of their stream, the decode, and the laws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ttc_fast import (
    BernoulliSampling,
    GaussianNoise,
    LinearAttention,
    LinearRegression,
    Prompts,
    RandomStart,
    RankOneNoise,
    StochasticDecoder,
    SubsetSampling,
    beam_search,
    evaluate,
    overlay,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.numerics import rng

MODEL = LinearAttention.gradient_descent(3, step_size=0.3)


def sample(rule: Rule, count: int = 6) -> Prompts:
    return LinearRegression(3, 8, "binary" if rule.binary else "continuous", label_noise=0.2).sample(count, seed=3)


def test_numbers_of_the_stream() -> None:
    """Word 0 and 1 of stream 11 of every prompt and coefficient; parts have those of the whole."""
    prompts = LinearRegression(5, 4).sample(7, first_prompt=2)
    w0 = RandomStart(seed=2**63 + 1, scale=2.0)(prompts)
    for b in range(7):
        for i in range(5):
            words = rng.philox(tuple(torch.tensor(v) for v in (0, i | 11 << 24, 0, 2 + b)), 2**63 + 1)  # type: ignore[arg-type]
            a, angle = int(words[0]), int(words[1]) / 2**32 * 2 * math.pi
            expected = 2 * math.sqrt(-2 * math.log((a + 0.5) / 2**32)) * math.cos(angle)
            assert w0[b, i].item() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(RandomStart(2**63 + 1, 2.0)(prompts.part(3, 5)), w0[3:5])


def test_moments() -> None:
    """40,000 normals: mean and variance beyond 4.5 standard errors once in 70,000 seeds each."""
    w0 = RandomStart(4)(LinearRegression(4, 1).sample(10_000)).double()
    assert abs(w0.mean()) < 4.5 / 200
    assert abs(w0.square().mean() - 1) < 4.5 * math.sqrt(2) / 200


AT_LAST = BernoulliSampling("clip", sample_at="last_step")


@pytest.mark.parametrize("rule", [GaussianNoise(0.2), RankOneNoise(0.1), BernoulliSampling(), AT_LAST])
def test_decode_and_laws(rule: Rule) -> None:
    """Step 0 is the start; every law holds, and those that forget the start would not (it is 3 away from zero)."""
    prompts, start = sample(rule), RandomStart(4, scale=3.0)
    decoder = StochasticDecoder(MODEL, rule, start)
    thoughts = decoder(prompts, steps=[0, 1], samples=4, seed=5).thoughts
    if rule.encode(1).every_step:  # type: ignore[union-attr]  # of our rules
        assert torch.equal(thoughts[0], start(prompts)[:, None].expand(-1, 4, -1))
    by_hand = StochasticDecoder(MODEL, rule).decode(
        MODEL.prefill(prompts), start(prompts), steps=[0, 1], samples=4, seed=5
    )
    assert torch.equal(thoughts, by_hand.thoughts)
    names = ["greedy", "single", "mean", "ridge"] + (["majority_vote"] if rule.binary else [])
    table = evaluate(decoder, prompts, steps=[1, 3], samples=600, budgets=[1, 20, 600], seed=5, techniques=names)
    assert table.about["start"] == "RandomStart(seed=4, scale=3.0)"
    checks = overlay(decoder, prompts, table).theory_checks()
    assert max(abs(check.t) for check in checks.values() if not math.isnan(check.t)) < 4.5  # of 20: once in 7,000
    forgetful = overlay(StochasticDecoder(MODEL, rule), prompts, table).theory_checks()
    assert len(forgetful) == len(checks) > 10
    assert any(abs(check.difference) > 0.1 * check.theory for check in forgetful.values())


def test_searches_and_subsets() -> None:
    """A search begins where the chains do; sets, whose law does not know it, have none."""
    rule = GaussianNoise(0.0)
    decoder = StochasticDecoder(MODEL, rule, RandomStart(4))
    prompts = sample(rule)
    found = beam_search(decoder, prompts, steps=2, beams=1, expansions=1).answer
    torch.testing.assert_close(found, decoder(prompts, steps=2, samples=1).thoughts[0, :, 0])
    subsets = StochasticDecoder(MODEL, SubsetSampling(1), RandomStart(4))
    bits = sample(subsets.rule)
    table = overlay(subsets, bits, evaluate(subsets, bits, steps=[1, 2], samples=4, techniques=["single", "greedy"]))
    assert table.theory is not None
    assert np.isnan(table.theory).all()


def test_a_function_of_ones_own() -> None:
    def ones(prompts: Prompts) -> Tensor:
        return torch.ones(len(prompts), 3)

    prompts = sample(GaussianNoise(0.0))
    decoder = StochasticDecoder(MODEL, GaussianNoise(0.0), ones)
    assert torch.equal(decoder(prompts, steps=0, samples=2).thoughts, torch.ones(1, 6, 2, 3))
    wrong: list[tuple[Any, str]] = [
        (lambda prompts: torch.ones(2, 3), r"start: expected shape \[6, 3\], got \[2, 3\]"),
        (lambda prompts: torch.ones(6, 3).double(), r"start: expected thoughts in torch\.float32 on cpu"),
    ]
    for start, message in wrong:
        with pytest.raises(ValueError, match=message):
            StochasticDecoder(MODEL, GaussianNoise(0.0), start)(prompts, steps=1, samples=1)
    with pytest.raises(TypeError, match="start: expected a function"):
        StochasticDecoder(MODEL, GaussianNoise(0.0), 3)  # type: ignore[arg-type]  # wrong on purpose
