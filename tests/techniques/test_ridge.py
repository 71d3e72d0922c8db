"""Descent with a ridge: by hand, by the formula, and as what the mean of many chains comes to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ttc_fast import (
    TECHNIQUES,
    GaussianNoise,
    GeometricDecay,
    Key,
    LinearAttention,
    LinearRegression,
    RankOneNoise,
    StochasticDecoder,
    Technique,
    evaluate,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.techniques.ridge import RidgeDescent

STEPS = 7


def errors(rule: Rule, technique: Any, name: str) -> np.ndarray[Any, Any]:
    prompts = LinearRegression(4, 12, label_noise=0.3).sample(5, dtype=torch.float64)
    model = LinearAttention.gradient_descent(4, step_size=0.3, dtype=torch.float64)
    table = evaluate(StochasticDecoder(model, rule), prompts, steps=STEPS, samples=2, techniques=[technique])
    return table[Key("continuous", name, STEPS, 1, "squared_error")]


def by_formula(strengths: list[float]) -> np.ndarray[Any, Any]:
    """w <- w - eta (S w - b) - kappa w in NumPy."""
    prompts = LinearRegression(4, 12, label_noise=0.3).sample(5, dtype=torch.float64)
    assert prompts.w_star is not None
    x, y, w = prompts.x.numpy(), prompts.y.numpy(), np.zeros((5, 4))
    for strength in strengths:
        residual = np.einsum("bnd,bd->bn", x, w) - y
        w = w - 0.3 * np.einsum("bnd,bn->bd", x, residual) / 12 - strength * w
    return np.asarray(((w - prompts.w_star.numpy()) ** 2).mean(1))


@pytest.mark.parametrize("strength", [0.0, 0.1, GeometricDecay(0.3, 0.5), [0.1, 0.1, 0.2, 0.2, 0.2, 0.0, 0.3]])
def test_formula(strength: Any) -> None:
    rule = RankOneNoise(strength)
    expected = by_formula(rule.scales(STEPS).tolist())
    np.testing.assert_allclose(errors(rule, "ridge", "ridge"), expected, rtol=1e-12)
    own = Technique("own", search=RidgeDescent(strength), uses_budget=False)
    np.testing.assert_allclose(errors(GaussianNoise(0.2), own, "own"), expected, rtol=1e-12)


def test_work_is_one_chain() -> None:
    prompts = LinearRegression(4, 12).sample(2)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(4, examples=12), RankOneNoise(0.1))
    table = evaluate(decoder, prompts, steps=STEPS, samples=8, techniques=["ridge"])
    assert {key.samples for key in table.keys} == {1}
    assert table.work(table.keys[0]) == (STEPS, 0)


def test_rules_without_a_ridge() -> None:
    """The technique is left out, or refused where it is the only one; one given by hand says what it lacks."""
    assert not TECHNIQUES["ridge"].applicable(GaussianNoise(0.2))
    prompts = LinearRegression(4, 12).sample(2)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(4, examples=12), GaussianNoise(0.2))
    table = evaluate(decoder, prompts, steps=2, samples=2, techniques=["ridge", "mean"])
    assert {key.technique for key in table.keys} == {"mean"}
    with pytest.raises(ValueError, match="technique: expected one for continuous coefficients under GaussianNoise"):
        evaluate(decoder, prompts, steps=2, samples=2, techniques=["ridge"])
    with pytest.raises(ValueError, match="technique: ridge needs a rule with a ridge"):
        evaluate(decoder, prompts, steps=2, samples=2, techniques=[Technique("own", search=RidgeDescent())])
