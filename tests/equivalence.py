"""When a backend's decode equals the reference's: one step from the same thoughts, then free runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from decoding_problems import RULES, problem
from ttc_fast import BernoulliSampling, GaussianNoise, GeometricDecay
from ttc_fast.decoding import reference
from ttc_fast.decoding.rules import Rule
from ttc_fast.numerics import rng

ALL_RULES: list[Rule] = [*RULES, BernoulliSampling("sigmoid", 0.0), GaussianNoise(GeometricDecay(0.5, 0.9))]

EPS = 2.0**-24
"""Half a unit in the last place of 1 in float32: the error of one rounding."""

NORMAL_ERROR = 1.2e-5
"""Largest difference of a normal between backends, both in float32 from the same words.

C++: radius, at most 6.76: logarithms within 4 and 1 ulp, halved by the root, and two roundings,
4 * 2^-23 relative, 3.3e-6; angle: three roundings of an angle below 2 pi in the reference, 9.4e-7, and
sines within 4 and 1 ulp, 3e-7; times the radius, 8.4e-6.
Triton: lg2.approx within 2^-22 (where x < 1 - 2^-6, so that the radius is above 0.177: 9.3e-7), the
root within 2^-23 relative; sines within 2^-20.5, 6.8e-7, the angle's roundings as above; 1.1e-5."""

Decode = Callable[..., Tensor]


def magnitude(state: Tensor, w: Tensor) -> float:
    """Bound of the partial sums of u from thoughts ``[B, N, d]``."""
    return (w.abs() + w.abs() @ state[:, :, :-1].abs().mT + state[:, None, :, -1].abs()).max().item()


def check_step(decode: Decode, rule: Rule, dim: int, samples: int = 37, roundings: int = 0) -> None:
    """Steps t = 0 and 6 from the same thoughts. Each side rounds the d + 3 operations of u, or
    ``roundings``; a normal differs by NORMAL_ERROR; a Bernoulli draw may differ only where
    |uniform - p| is within the error of p."""
    state, _ = problem(3, dim)
    w = torch.rand(3, samples, dim, generator=torch.Generator().manual_seed(dim))
    error = (dim + 3 + max(roundings, dim + 3)) * EPS * magnitude(state, w)
    for first_step in (0, 6):
        arguments: dict[str, Any] = {
            "rule": rule, "steps": [first_step + 1], "first_step": first_step, "samples": samples, "seed": 3,
            "first_sample": 2**31 - 3, "first_prompt": 2**32 - 3,
        }  # fmt: skip
        got = decode(state, w, **arguments)[0]
        expected = reference.decode(state, w, **arguments)[0]
        if isinstance(rule, GaussianNoise):
            scale = rule.scales(first_step + 1)[first_step].item()
            assert (got - expected).abs().max() <= error + scale * NORMAL_ERROR + 2 * EPS * magnitude(state, w)
        else:
            assert isinstance(rule, BernoulliSampling)
            assert flips_are_proved(state, w, rule, first_step, got, expected, error) <= 1


def flips_are_proved(
    state: Tensor, w: Tensor, rule: BernoulliSampling, t: int, got: Tensor, expected: Tensor, error: float
) -> int:
    """Number of draws that differ in step t of :func:`check_step`, each proved to lie at the boundary."""
    prompts, samples, dim = w.shape
    u = w.double() + w.double() @ state[:, :, :-1].double().mT - state[:, None, :, -1].double()
    words = rng.philox(
        rng.counter(
            rng.Stream.BERNOULLI,
            prompt=torch.arange(2**32 - 3, 2**32 - 3 + prompts)[:, None, None],
            sample=torch.arange(2**31 - 3, 2**31 - 3 + samples)[:, None],
            coordinate=torch.arange(dim),
            block=t // 4,
        ),
        3,
    )
    flips = got != expected
    if rule.temperature == 0:
        return int((flips & ((u - 0.5).abs() > error)).sum()) * 2  # off the boundary: no proof
    slope = 1.0 if rule.temperature is None else 1 / (4 * rule.temperature)
    margin = (rng.uniform(words[t % 4], torch.float64) - rule.probability(u)).abs()
    # p itself: the exponential within 5 ulp and a few roundings of numbers up to 1.
    assert bool((margin[flips] <= slope * error + 16 * EPS).all())
    return int(flips.sum())


def check_free_run(
    decode: Decode, rule: Rule, dim: int, samples: int, steps: int, roundings: int = 0, **arguments: Any
) -> Tensor:
    """The chains stay together: errors of a step do not grow, the state being stable. After a proved flip
    a Bernoulli chain may go its own way; with these seeds none flips."""
    state, w0 = problem(3, dim)
    given = {"rule": rule, "steps": range(steps + 1), "samples": samples, "seed": 2**63 + 1, **arguments}
    got = decode(state, w0, **given)
    expected = reference.decode(state, w0, **given)
    assert got.shape == expected.shape
    assert not got.isnan().any()
    if isinstance(rule, GaussianNoise):
        worst = max(magnitude(state, w) for w in expected)
        operations = dim + 4 + max(roundings, dim + 4)
        step_error = operations * EPS * worst + rule.scales(steps).max().item() * NORMAL_ERROR if steps else 0.0
        assert (got - expected).abs().max() <= steps * math.sqrt(dim) * step_error
    else:
        assert torch.equal(got, expected)
    if steps:  # the last thought alone: by way of loops that keep no thought
        assert torch.equal(decode(state, w0, **{**given, "steps": [steps]}), got[-1:])
    return got


def check_uniforms(decode: Decode, samples: int = 500) -> None:
    """Uniforms are equal to the bit: a coefficient becomes 1 iff uniform < p, so not for p = uniform, but
    for the next float above it."""
    first_sample = 2**32 - samples
    for first_step in (0, 1, 2, 3, 7):
        words = rng.philox(
            rng.counter(
                rng.Stream.BERNOULLI,
                prompt=torch.arange(2)[:, None, None],
                sample=torch.arange(first_sample, 2**32)[:, None],
                coordinate=torch.arange(9),
                block=first_step // 4,
            ),
            5,
        )
        p = rng.uniform(words[first_step % 4], torch.float32)
        for u, bit in ((p, 0.0), (torch.nextafter(p, torch.tensor(2.0)), 1.0)):
            got = decode(
                torch.zeros(2, 9, 10),
                u,
                rule=BernoulliSampling("clip"),
                steps=[first_step + 1],
                first_step=first_step,
                samples=samples,
                first_sample=first_sample,
                seed=5,
            )
            assert bool((got == bit).all())
