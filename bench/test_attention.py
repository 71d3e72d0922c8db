"""Attention states in C++ against the same chain by hand, on one core: ``pytest -s bench/test_attention.py``.

Every output is checked before it is timed: means and variances of the last thoughts. Times are the processor's, the
least of several turns one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from bench.peers import Run, least_seconds, seeded
from ttc_fast import AttentionState, GaussianNoise, Heads
from ttc_fast.decoding.attention_decode import decode_attention

SIGMA, SAMPLES, STEPS, TURNS = 0.2, 4096, 32, 5


def runs(n: int, d: int) -> dict[str, Run]:
    """Last thoughts [N, d] of one softmax head over n keys."""
    random = torch.Generator().manual_seed(d)
    x = torch.randn(n, d, generator=random)
    keys, offsets = x / math.sqrt(2 * d + 2), 0.1 * (x @ torch.randn(d, generator=random))
    values = -0.3 * x
    state = AttentionState((Heads(keys[None, None], offsets[None, None], values[None, None], "softmax"),))
    w0, mask = torch.zeros(1, d), offsets.expand(SAMPLES, n).contiguous()

    def ours(seed: int) -> Tensor:
        rule = GaussianNoise(SIGMA)
        out = decode_attention(state, w0, rule=rule, steps=[STEPS], samples=SAMPLES, seed=seed, backend="native")
        return out.thoughts[0, 0]

    def eager(w: Tensor) -> Tensor:
        return w + torch.softmax(torch.addmm(offsets, w, keys.mT), 1) @ values

    def fused(w: Tensor) -> Tensor:
        query, key, value = (part[None, None] for part in (w, keys, values))
        return w + scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)[0, 0]

    def chain(step: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            w = torch.zeros(SAMPLES, d)
            for _ in range(STEPS):
                w = torch.randn(SAMPLES, d).mul_(SIGMA).add_(step(w))
            return w

        return run

    return {"native": ours, "eager": seeded(chain(eager)), "scaled_dot_product_attention": seeded(chain(fused))}


def check(got: Tensor, expected: Tensor) -> None:
    """Means of 4,096 samples within 6 standard errors of each other: below 1e-6 to fail; variances within a quarter."""
    error = (got.var(0) / SAMPLES + expected.var(0) / SAMPLES).sqrt()
    assert bool(((got.mean(0) - expected.mean(0)).abs() < 6 * error).all())
    torch.testing.assert_close(got.var(0), expected.var(0), rtol=0.25, atol=0)


@pytest.mark.parametrize(("n", "d"), [(64, 16), (64, 32), (256, 64)])
def test_attention(n: int, d: int) -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        found = runs(n, d)
        for run in found.values():
            check(run(1), found["native"](2))
        least = least_seconds(found, TURNS)
    rates = {name: SAMPLES * d * STEPS / taken / 1e6 for name, taken in least.items()}
    best = max(rate for name, rate in rates.items() if name != "native")
    print(f"\nn = {n}, d = {d}: " + ", ".join(f"{name} {rate:.1f} M/s" for name, rate in rates.items()))
    assert rates["native"] > 2 * best
