"""Numbers at the edge of float32, and arguments of the wrong kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ttc_fast as tf
from ttc_fast.decoding.gaussian_chain import transition
from ttc_fast.numerics import extension


def state() -> torch.Tensor:
    decoder = tf.LinearAttention.gradient_descent(3, step_size=0.5)
    linear: torch.Tensor = decoder.prefill(tf.LinearRegression(3, 8).sample(2)).linear.detach()
    return linear


@pytest.mark.parametrize("rule", [tf.GaussianNoise, tf.RankOneNoise, tf.ElementwiseNoise])
@pytest.mark.parametrize(
    "schedule",
    [1e39, [0.1, 1e39], torch.tensor([1e39], dtype=torch.float64), np.array([np.inf]), tf.GeometricDecay(1e30, 1e30)],
    ids=repr,
)
def test_scales_beyond_float32_are_refused(rule: Any, schedule: Any) -> None:
    with pytest.raises(ValueError, match=r"(noise_scale|strength): expected .*3\.4e\+38"):
        tf.decode(state(), torch.zeros(2, 3), rule=rule(schedule), steps=[2], samples=2)


@pytest.mark.parametrize("schedule", [[1j], np.array([1j]), torch.eye(2).to_sparse(), torch.ones(2).bool(), ["a"], {}])
def test_schedules_of_another_kind(schedule: Any) -> None:
    with pytest.raises(TypeError, match="noise_scale: expected"):
        tf.GaussianNoise(schedule)


def test_schedules_of_other_numbers() -> None:
    assert tf.GaussianNoise(np.float32(0.5)) == tf.GaussianNoise(0.5)
    assert tf.GaussianNoise(torch.tensor([0.5, 0.25], requires_grad=True)).noise_scale == (0.5, 0.25)


@pytest.mark.parametrize("temperature", [1e-46, 1e-320, 1e-30])
def test_temperatures_below_float32(temperature: float) -> None:
    """As the limit says: 1 above 1/2, 0 below, a fair coin at 1/2, on every backend."""
    rule = tf.BernoulliSampling(temperature=temperature)
    u = torch.tensor([0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.49999997, 3e38, -3e38])
    assert rule.probability(u).tolist() == [0.5, 1, 0, 1, 0]
    at_half = torch.zeros(1, 3, 4)
    at_half[0, :, 3] = -0.5  # u = w + 1/2 from w = 0
    names = ["reference", *(["native"] if extension.module is not None else [])]
    bits = [
        tf.decode(at_half, torch.zeros(1, 3), rule=rule, steps=[1], samples=500, backend=name).thoughts
        for name in names
    ]
    for found in bits:
        assert torch.equal(found, bits[0])
        assert 0.45 < found.mean() < 0.55


def test_large_labels_need_no_squares() -> None:
    """Their products with features fit float32, and nothing else is asked for."""
    prompts = tf.LinearRegression(3, 8).sample(2)
    large = tf.Prompts(prompts.x, prompts.y * 2.0**100, None)
    model = tf.LinearAttention.gradient_descent(3, step_size=0.5)
    plain, scaled = (model.prefill(part).linear for part in (prompts, large))
    assert torch.equal(scaled[:, :, :3], plain[:, :, :3])
    assert torch.equal(scaled[:, :, 3], plain[:, :, 3] * 2.0**100)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tf.LinearAttention.gradient_descent(3, step_size=1e39), "step_size: expected a number that torch"),
        (lambda: tf.LinearAttention.gradient_descent(3, step_size=3e38).prefill(tf.LinearRegression(3, 8).sample(9)),
         "step_size: expected one with which the state"),
        (lambda: tf.LinearRegression(3, 8, label_noise=1e39).sample(1), "label_noise: expected a size"),
        (lambda: tf.LinearRegression(3, 8, prior=1e39).sample(1), "prior: expected a size"),
        (lambda: tf.LinearRegression(3, 8, spectrum=[1e39, 1, 1]).sample(1), "spectrum: expected a size"),
        (lambda: tf.Prompts(torch.full((1, 2, 3), 1e20), torch.zeros(1, 2)), "x: expected features whose squares"),
        (lambda: tf.LinearAttention.preconditioned([0.0, 0.0], 4), "covariance: expected one whose Gamma has"),
        (lambda: tf.WrongVerifier(1e39), "w_r: expected a number up to 3.4e"),
        (lambda: tf.NoisyVerifier(noise=1e39), "noise: expected a number up to 3.4e"),
    ],
)  # fmt: skip
def test_overflow_names_the_argument(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        make()


def test_no_gradient_comes_out() -> None:
    for method in ("stepwise", "exact"):
        for given in (state().requires_grad_(), state()):
            w0 = torch.zeros(2, 3, requires_grad=True)
            for steps in ([0], [0, 3]):
                made = tf.decode(given, w0, rule=tf.GaussianNoise(), steps=steps, samples=2, method=method)
                assert not made.thoughts.requires_grad


@pytest.mark.parametrize("symmetric", [True, False])
def test_law_of_many_equal_steps(symmetric: bool) -> None:
    """By doubling what it is step by step; and 10^12 steps take no longer."""
    linear = state().double()
    if not symmetric:
        linear[:, 0, 1] += 0.05
    for steps in (1, 2, 3, 13):
        one = torch.full((1,), 0.3, dtype=torch.float64)
        fast, slow = transition(linear, one.expand(steps)), transition(linear, one.repeat(steps))
        torch.testing.assert_close(fast.matrix, slow.matrix)
        torch.testing.assert_close(fast.offset, slow.offset)
        torch.testing.assert_close(fast.root @ fast.root.mT, slow.root @ slow.root.mT)
    far = transition(linear, one.expand(10**12))
    torch.testing.assert_close(far.offset, transition(linear, one.expand(10**13)).offset)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"w0": None}, "w0: expected a torch.Tensor, got NoneType"),
        ({"w0": np.zeros((2, 3), np.float32)}, "w0: expected a torch.Tensor, got ndarray; torch.from_numpy"),
        ({"state": torch.eye(3).to_sparse()}, "state: expected a dense tensor"),
        ({"steps": 3}, "steps: expected integers, got 3"),
        ({"samples": 2**32}, "samples: the thoughts: expected to need at most"),
    ],
)
def test_decode_refuses(part: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "state": state(),
        "w0": torch.zeros(2, 3),
        "rule": tf.GaussianNoise(),
        "steps": [1],
        "samples": 2,
    }
    with pytest.raises((TypeError, ValueError), match=message):
        tf.decode(**(given | part))
