"""The decode without steps against the stepwise one, one asked step T = 1024: ``pytest bench/test_exact.py``.

Both outputs are held against the exact law before they are timed.
"""

from __future__ import annotations

import time
from typing import Literal

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ttc_fast import GaussianNoise, LinearAttention, LinearRegression, decode
from ttc_fast.tasks.quadratic import quadratic
from ttc_fast.theory.gaussian import error_of_mean, gaussian_law

STEPS = 1024
RULE = GaussianNoise(0.1)


@pytest.mark.parametrize(("dim", "samples"), [(16, 4096), (16, 65536), (64, 16384)])
def test_exact(benchmark: BenchmarkFixture, dim: int, samples: int) -> None:
    prompts = LinearRegression(dim, 4 * dim, label_noise=0.1).sample(1)
    state = LinearAttention.gradient_descent(dim, examples=4 * dim).prefill(prompts).linear.detach()
    w0 = torch.zeros(1, dim)
    metric = quadratic(prompts, "squared_error")
    expected = error_of_mean(gaussian_law(state, RULE, STEPS), metric, [1])[0, 0].item()

    def run(method: Literal["stepwise", "exact"]) -> float:
        began = time.perf_counter()
        w = decode(state, w0, rule=RULE, steps=[STEPS], samples=samples, method=method).thoughts[0, 0]
        seconds = time.perf_counter() - began
        error = (w.double() - metric.centre).square().mean(1)
        assert abs(error.mean().item() - expected) < 6 * error.std().item() / samples**0.5
        return seconds

    stepwise = sorted(run("stepwise") for _ in range(3))[1]
    run("exact")
    benchmark.pedantic(run, ("exact",), rounds=9)
    exact = sorted(run("exact") for _ in range(9))[4]
    benchmark.extra_info |= {"stepwise_seconds": stepwise, "exact_seconds": exact, "ratio": stepwise / exact}
    times = f"stepwise {stepwise * 1e3:.1f} ms, exact {exact * 1e3:.2f} ms"
    print(f"\nd = {dim}, N = {samples}: {times}, {stepwise / exact:.0f}x")
