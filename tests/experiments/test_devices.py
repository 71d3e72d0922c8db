"""Runs on other devices than the CPU: tensors pretend to be there, and refuse float64 where there is none."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

import ttc_fast as tf
from pretended_gpu import pretended_device
from ttc_fast.evaluation.devices import evaluation_on
from ttc_fast.evaluation.evaluate import evaluation
from ttc_fast.evaluation.plan import Plan
from ttc_fast.techniques.registry import TECHNIQUES

SLOW = pytest.mark.slow
SETTINGS: dict[str, dict[str, Any]] = {
    "every technique": {"technique": tuple(TECHNIQUES)},
    "search": {"technique": ("particle_filter", "median"), "coefficients": "continuous", "steps": 2},
    "theory": {"theory": True},
    "exact": {"method": "exact", "coefficients": "continuous"},
    "held out": {"verifier": "held_out_loss", "verifier_noise": 0.1},
    "oracle": {"verifier": "oracle", "false_positive_rate": 0.1},
    "wrong": {"verifier": "wrong"},
    "features": {"covariance": (1.0, 2.0, 0.5, 0.3), "metric": ("error_norm",)},
    "rank one": {"rule": ("rank_one",)},
    "subset": {"rule": ("subset",), "ones": 2},
    "start": {"start": "random"},
    "student": {"task": "student"},
    "signs": {"task": "max_margin"},
}


@pytest.mark.parametrize("device", ["mps", pytest.param("xpu", marks=SLOW)])
@pytest.mark.parametrize("settings", [pytest.param(s, marks=SLOW if s == "every technique" else ()) for s in SETTINGS])
def test_runs_as_on_the_cpu(device: str, settings: str) -> None:
    torch.use_deterministic_algorithms(False)
    common = {"samples": 8, "prompts": 2, "steps": (1, 3), "dim": 4, "examples": 12, "backend": "reference"}
    asked: Any = {**common, "theory": False, **SETTINGS[settings]}
    wanted = tf.run(tf.RunConfig(**asked))
    with pretended_device() as counts:
        found = tf.run(tf.RunConfig(device=device, **asked))
    assert counts["launches"] > 100  # it was there
    assert found.table.keys == wanted.table.keys
    # The same operators, but for sums in PyTorch for those in C++: some roundings of 2^-24.
    np.testing.assert_allclose(found.table.values, wanted.table.values, rtol=1e-4, atol=1e-6)
    if found.table.theory is not None and wanted.table.theory is not None:
        # Of the state that the device made, whose sums of 64 products in float32 may be 64 roundings of 2^-24 off.
        np.testing.assert_allclose(found.table.theory, wanted.table.theory, rtol=64 * 2**-23, atol=1e-9)


def test_other_models_and_given_prompts() -> None:
    """A softmax transformer, and features whose covariance is made of them."""
    torch.use_deterministic_algorithms(False)
    made = tf.LinearRegression(4, 12).sample(2)
    assert made.w_star is not None
    with pretended_device():
        prompts = tf.Prompts(made.x.to("mps"), made.y.to("mps"), made.w_star.to("mps"))
        V, W = (torch.randn(2, 10, 10, generator=torch.Generator().manual_seed(i)) / 10 for i in (1, 2))
        decoder = tf.StochasticDecoder(tf.AttentionTransformer(V, W).to("mps"), tf.GaussianNoise(0.1))
        table = tf.evaluate(decoder, prompts, steps=2, samples=4)
    assert np.isfinite(table.values).all()


def plan_of(prompts: tf.Prompts, verifier: Any = None) -> Plan:
    decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(4, examples=12), tf.GaussianNoise(0.1))
    return Plan.checked(decoder, prompts, steps=[1, 4], samples=8, verifier=verifier)


@pytest.mark.parametrize("devices", [1, 2, 9])
def test_devices_share_the_prompts(devices: int) -> None:
    prompts = tf.LinearRegression(4, 12).sample(5)
    plan, shares = plan_of(prompts), list[float]()
    found = evaluation_on(
        [torch.device("cpu")] * devices, plan, prompts, progress=lambda _, share: shares.append(share)
    )
    wanted = evaluation(plan, prompts)
    np.testing.assert_array_equal(found.table.values, wanted.table.values)
    assert torch.equal(found.unstable, wanted.unstable)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_an_error_of_a_device_ends_the_others() -> None:
    """It is the caller's, as it would be of one device; no thread is left behind."""
    prompts = tf.LinearRegression(4, 12).sample(6)
    asked: list[int] = []

    def scores(part: tf.Prompts, w: torch.Tensor) -> torch.Tensor:
        asked.append(part.first)
        if part.first >= 3:
            raise ArithmeticError("no score for the fourth")
        return -w.square().sum(2)

    before = threading.active_count()
    with pytest.raises(ArithmeticError, match="no score for the fourth"):
        evaluation_on([torch.device("cpu")] * 2, plan_of(prompts, scores), prompts, progress=lambda stage, share: None)
    assert threading.active_count() == before
    assert 3 in asked
