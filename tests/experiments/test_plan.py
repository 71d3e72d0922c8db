"""Splits of a budget between steps and samples."""

from __future__ import annotations

from typing import Any

import pytest

from ttc_fast import PlanConfig, plan


def test_plan_is_the_best_of_the_splits() -> None:
    """The simulation agrees within 5 standard errors."""
    found = plan(PlanConfig(300, dim=4, examples=40, prompts=64, simulate=True))
    assert found.best.steps * found.best.samples <= 300
    assert all(found.best.error <= other.error for other in found.others)
    assert [other.steps for other in found.others] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert all(other.samples == 300 // other.steps for other in found.others)
    assert found.simulated is not None
    mean, z = found.simulated
    assert mean == pytest.approx(found.best.error, rel=0.2)
    assert abs(z) < 5
    assert found.unstable == 0


@pytest.mark.parametrize("noise_scale", [0.0, 1e-45, 1e-12])
def test_without_noise_rounding_alone_is_no_contradiction(noise_scale: float) -> None:
    for seed in range(8):
        found = plan(
            PlanConfig(9 + 7 * seed, dim=3, examples=8, prompts=3, noise_scale=noise_scale, seed=seed, simulate=True)
        )
        assert found.simulated is not None
        assert abs(found.simulated[1]) < 4


def test_diverging_prompts_are_counted() -> None:
    assert plan(PlanConfig(64, step_size=1.9, prompts=8)).unstable == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "budget: expected an integer from 1"),
        ({"budget": 9, "longest": 0}, "longest: expected an integer from 1"),
        ({"budget": 9, "prompts": 0}, "prompts: expected an integer from 1"),
        ({"budget": 9, "noise_scale": -1.0}, "noise_scale: expected a finite number of at least 0"),
        ({"budget": 9, "seed": -1}, "seed: expected an integer from 0"),
        ({"budget": 9, "dim": 0}, "dim: expected an integer from 1"),
    ],
)
def test_errors_name_the_setting(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        plan(PlanConfig(**settings))
    assert str(error.value).startswith(message)
