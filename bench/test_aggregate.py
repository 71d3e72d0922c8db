"""What the techniques add to the native decode of their candidates, d = 32: ``pytest -s bench/test_aggregate.py``.

All default techniques at all budgets, with all metrics and the verifier's scores, against the decode, in turn.
"""

from __future__ import annotations

import time
from statistics import median

import pytest
import torch
from torch import Tensor

from ttc_fast import BernoulliSampling, GaussianNoise, LinearAttention, LinearRegression, Prompts, StochasticDecoder
from ttc_fast.estimators.budgets import powers_of_two
from ttc_fast.evaluation.bank import Bank
from ttc_fast.techniques.registry import DEFAULT, TECHNIQUES

PROMPTS, SAMPLES, DIM = 32, 4096, 32


def aggregate(part: Prompts, w: Tensor, step: int, binary: bool) -> int:
    """Number of results."""
    bank = Bank(part, w, "in_context_score", w[:, 0], binary=binary, steps=[step], seed=0)
    found = [bank.scores(TECHNIQUES[name], powers_of_two(w.shape[1])) for name in DEFAULT]
    return sum(len(values) for metrics in found for values in metrics.values())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("examples", [64, 128])
@pytest.mark.parametrize("steps", [16, 64])
@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_aggregation_is_a_quarter_of_the_decode(kind: str, steps: int, examples: int, threads: int) -> None:
    torch.set_num_threads(threads)
    binary = kind == "binary"
    part = LinearRegression(DIM, examples, "binary" if binary else "continuous", label_noise=0.1).sample(PROMPTS)
    rule = BernoulliSampling() if binary else GaussianNoise(0.2)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(DIM, examples=examples), rule)
    decodes, aggregates = [], []
    with torch.inference_mode():
        for _ in range(9):
            began = time.perf_counter()
            w = decoder(part, steps=[steps], samples=SAMPLES, seed=0, backend="native").thoughts[0]
            decoded = time.perf_counter()
            found = aggregate(part, w, steps, binary)
            assert found == (2 + len(powers_of_two(SAMPLES)) * (4 if binary else 3)) * (4 if binary else 2)
            aggregates.append(time.perf_counter() - decoded)
            decodes.append(decoded - began)
    share = median(aggregates) / median(decodes)
    print(
        f"\n{kind}, T = {steps}, n = {examples}, {threads} threads: decode {median(decodes) * 1e3:.1f} ms, +{share:.1%}"
    )
    assert share <= 0.25
