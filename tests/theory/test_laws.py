"""Laws of a user's own: registered for a technique and a rule, and taken where they hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from ttc_fast import (
    LAWS,
    Candidates,
    Draws,
    GaussianNoise,
    Key,
    LinearAttention,
    LinearRegression,
    Problem,
    Prompts,
    StochasticDecoder,
    Table,
    evaluate,
    law,
    overlay,
)
from ttc_fast.theory.laws import find_law


@pytest.fixture
def _registry() -> Iterator[None]:
    """What a test registers goes when it ends."""
    before = dict(LAWS)
    yield
    LAWS.clear()
    LAWS.update(before)


@dataclass(frozen=True)
class UniformNoise:
    """A user's rule, without a kernel and not derived from ours: noise of variance width^2 / 3."""

    width: float = 0.3

    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        return u + self.width * (2 * draws.uniform() - 1)


class ScaledNoise(GaussianNoise):
    """A user's rule derived from ours, which draws otherwise."""

    def encode(self, steps: int) -> None:  # type: ignore[override]  # no kernel
        return None

    def thought(self, u: Tensor, w: Tensor, draws: Draws) -> Tensor:
        return u + 5 * self.noise_scale * draws.normal()  # type: ignore[operator]  # a number here


def last_sample(candidates: Candidates) -> Tensor:
    """A user's technique."""
    return candidates.coefficients[:, :, -1]


def law_of_last_sample(
    problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]
) -> Mapping[str, Tensor]:
    """Of the first thought w_1 = b + noise, whatever the budget; later ones are left without."""
    if step > 1 or "squared_error" not in metrics:
        return {}
    assert problem.state is not None
    assert problem.prompts.w_star is not None
    variance = problem.rule.width**2 / 3  # type: ignore[attr-defined]  # the rule that it is registered for
    error = (-problem.state[:, :, -1] - problem.prompts.w_star).square().mean(1) + variance
    return {"squared_error": error[:, None].expand(-1, len(budgets))}


def evaluated(rule: Any, count: int = 100, steps: Sequence[int] = (1, 4)) -> tuple[StochasticDecoder, Prompts, Table]:
    prompts = LinearRegression(4, 20, label_noise=0.3).sample(count, seed=6, dtype=torch.float64)
    model = LinearAttention.gradient_descent(4, examples=20, dtype=torch.float64)
    decoder = StochasticDecoder(model, rule)
    return decoder, prompts, evaluate(decoder, prompts, steps=steps, samples=8, techniques=[last_sample, "single"])


@pytest.mark.usefixtures("_registry")
def test_a_law_of_ones_own_is_taken() -> None:
    decoder, prompts, table = evaluated(UniformNoise())
    assert overlay(decoder, prompts, table).theory_checks() == {}
    given = law("last_sample", UniformNoise, about="w_1 = b + noise", metrics="squared error")(law_of_last_sample)
    assert given is law_of_last_sample
    checks = overlay(decoder, prompts, table).theory_checks()
    assert set(checks) == {Key("continuous", "last_sample", 1, k, "squared_error") for k in (1, 2, 4, 8)}
    assert max(abs(check.t) for check in checks.values()) < 6
    assert all(math.isnan(check.z) for check in checks.values())  # it gives no variance


@pytest.mark.usefixtures("_registry")
def test_a_law_may_leave_out_budgets() -> None:
    """NaN: that key has no law, the others keep theirs."""

    def up_to_two(problem: Problem, step: int, budgets: Sequence[int], metrics: Sequence[str]) -> Mapping[str, Tensor]:
        found = law_of_last_sample(problem, step, budgets, metrics)
        kept = torch.tensor(budgets) <= 2
        return {name: value.where(kept, torch.nan) for name, value in found.items()}

    law("last_sample", UniformNoise, about="", metrics="squared error")(up_to_two)
    decoder, prompts, table = evaluated(UniformNoise(), 3)
    checks = overlay(decoder, prompts, table).theory_checks()
    assert {key.samples for key in checks} == {1, 2}


@pytest.mark.usefixtures("_registry")
def test_a_law_is_registered_once() -> None:
    law("last_sample", UniformNoise, about="", metrics="")(law_of_last_sample)
    with pytest.raises(ValueError, match="law: there is one of 'last_sample' under UniformNoise already"):
        law("last_sample", UniformNoise, about="", metrics="")(law_of_last_sample)
    with pytest.raises(ValueError, match="law: there is one of 'mean' under GaussianNoise already"):
        law("mean", GaussianNoise, about="", metrics="")(law_of_last_sample)


def test_a_law_does_not_hold_for_a_subclass_of_the_rule() -> None:
    assert find_law("single", GaussianNoise(0.1)) is not None
    assert find_law("single", ScaledNoise(0.1)) is None
    decoder, prompts, table = evaluated(ScaledNoise(0.1), 3)
    assert overlay(decoder, prompts, table).theory_checks() == {}


@pytest.mark.usefixtures("_registry")
def test_a_law_of_a_wrong_shape_is_told() -> None:
    law("last_sample", UniformNoise, about="", metrics="")(lambda *_: {"squared_error": torch.zeros(3)})
    decoder, prompts, table = evaluated(UniformNoise(), 3)
    message = r"law of last_sample: expected squared_error of shape \[B, K\] = \[3, 4\], got \[3\]"
    with pytest.raises(ValueError, match=message):
        overlay(decoder, prompts, table)
