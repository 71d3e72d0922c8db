"""Tasks for predictors of y: two-layer networks and decision trees, by hand, and their best linear predictors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from ttc_fast import DecisionTree, LinearRegression, TwoLayerNetwork

TASKS: list[Any] = [TwoLayerNetwork(4, 20_000, hidden=6), DecisionTree(4, 20_000, depth=3)]


@pytest.mark.parametrize("task", TASKS, ids=["two_layer", "tree"])
def test_best_linear_predictor(task: Any) -> None:
    """Least squares of 20,000 examples, in 8 prompts: each coefficient within 5 standard errors of w*; of the 32 one is
    outside once in 50,000 seeds."""
    prompts = task.sample(8, seed=3)
    for x, y, w in zip(prompts.x.double(), prompts.y.double(), prompts.w_star.double()):
        found = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
        scores = x * (y - x @ w)[:, None]  # of mean 0 at the best w, with features of covariance I
        assert bool(((found - w).abs() < 5 * scores.std(0) / len(x) ** 0.5 + 1e-3 * found.abs()).all())


def test_two_layer_network_by_hand() -> None:
    """One unit is c relu(<v, x>), 0 on one side of a plane and linear on the other, and w* half of that; the labels'
    variance is d in the mean over networks."""
    prompts = TwoLayerNetwork(3, 9, hidden=1).sample(5, seed=1)
    assert prompts.w_star is not None
    scores = 2 * (prompts.x @ prompts.w_star[:, :, None])[:, :, 0]
    either = torch.where(scores * prompts.y > 0, scores, torch.zeros(()))
    torch.testing.assert_close(prompts.y, either, rtol=1e-5, atol=1e-6)
    many = TwoLayerNetwork(5, 40).sample(2000, seed=2).y.double()
    # E y^2 = d; over 2,000 networks it has a standard error of about sqrt(2 d^2 (1/d + 2/100) / 2000), under 3 %
    assert float(many.square().mean()) == pytest.approx(5, rel=0.15)


def test_decision_tree_by_hand() -> None:
    """Signs of the coordinates decide: equal patterns have equal labels, of at most 2^depth values, of variance 1; a
    tree of depth 1 is a step in one coordinate."""
    prompts = DecisionTree(3, 400, depth=2).sample(6, seed=4)
    for x, y in zip(prompts.x.numpy(), prompts.y.numpy()):
        patterns: dict[tuple[bool, ...], float] = {}
        for row, label in zip(x, y):
            assert patterns.setdefault(tuple(row > 0), label) == label
        assert 1 < len(set(y.tolist())) <= 4
    one = DecisionTree(3, 200, depth=1).sample(40, seed=5)
    assert one.w_star is not None
    for x, y, w in zip(one.x.numpy(), one.y.numpy(), one.w_star.numpy()):
        (place,) = np.flatnonzero(w)
        low, high = (y[(x[:, place] > 0) == side] for side in (False, True))
        assert len(set(low.tolist())) == len(set(high.tolist())) == 1
        assert w[place] == pytest.approx((high[0] - low[0]) / math.sqrt(2 * math.pi), rel=1e-5)
    many = DecisionTree(4, 50).sample(2000, seed=6).y.double()
    assert float(many.square().mean()) == pytest.approx(1, rel=0.1)  # some 2000 * 5 independent leaves: 1.4 %


@pytest.mark.parametrize("task", [TwoLayerNetwork, DecisionTree])
def test_prompts_are_a_function_of_their_index(task: Any) -> None:
    """Parts equal the whole; features are those of linear regression, and so is the labels' noise."""
    whole = task(3, 7, label_noise=0.5).sample(6, seed=9)
    part = task(3, 7, label_noise=0.5).sample(2, seed=9, first_prompt=3)
    for name in ("x", "y", "w_star"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[3:5])
    linear = [LinearRegression(3, 7, label_noise=noise).sample(6, seed=9) for noise in (0.0, 0.5)]
    assert torch.equal(whole.x, linear[0].x)
    noise = whole.y - task(3, 7).sample(6, seed=9).y
    torch.testing.assert_close(noise, linear[1].y - linear[0].y, rtol=0, atol=2e-6)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="depth: expected an integer from 1 to 16, got 0"):
        DecisionTree(3, 4, depth=0)
    with pytest.raises(ValueError, match="hidden: expected an integer from 1"):
        TwoLayerNetwork(3, 4, hidden=0)
    with pytest.raises(TypeError, match="dim: expected an integer"):
        DecisionTree(3.5, 4)  # type: ignore[arg-type]  # wrong on purpose
