"""Decoding with a deep transformer against the plain loop: the whole sequence, for every sample, at every thought.

``pytest -s bench/test_transformer.py`` prints the ratios; with a GPU, those there too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import ttc_fast as tf
from ttc_fast.models.tokens import appended, token_matrix

STEPS = 4


def seconds(run: Callable[[], object], device: str, repeats: int = 3) -> float:
    """The shortest of some runs, after one that warms up; on the CPU of all cores together, whoever else is busy."""
    run()
    clock, found = (time.process_time if device == "cpu" else time.perf_counter), []
    for _ in range(repeats):
        began = clock()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(clock() - began)
    return min(found)


def plain_loop(model: tf.Transformer, prompts: tf.Prompts, samples: int) -> Tensor:
    """Thoughts of chains without noise, each sequence as a whole."""
    x, y = (part.repeat_interleave(samples, 0) for part in (prompts.x, prompts.y))
    w, Z, d = torch.zeros_like(x[:, 0]), None, model.dim
    for _ in range(STEPS):
        Z = token_matrix(x, y, w) if Z is None or not model.history else appended(Z, w)
        w = model.last_token(Z, prompts.x.shape[1])[:, d + 1 : -1]
    return w


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="PyTorch sees no GPU"
))])  # fmt: skip
@pytest.mark.parametrize(
    ("dim", "examples", "layers", "heads", "width", "history"),
    [(5, 20, 2, 2, 32, False), (20, 40, 3, 2, 64, False), (20, 40, 3, 2, 64, True), (20, 40, 6, 4, 128, False)],
)
def test_against_the_plain_loop(
    dim: int, examples: int, layers: int, heads: int, width: int, history: bool, device: str
) -> None:
    """At least five times as fast for each sample; the plain loop gets fewer of them, as many as suit its cache."""
    model = tf.Transformer(dim, layers, heads, width, history=history).to(device)
    decoder = tf.StochasticDecoder(model, tf.GaussianNoise(1e-30))  # samples differ, and are all decoded
    prompts = tf.LinearRegression(dim, examples).sample(1).to(device)
    many, few = (2048, 32) if device == "cpu" else (16384, 1024)
    with torch.inference_mode():
        thoughts = decoder(prompts, steps=STEPS, samples=few).thoughts[0, 0]
        torch.testing.assert_close(thoughts, plain_loop(model, prompts, few), rtol=1e-4, atol=1e-4)
        ours = seconds(lambda: decoder(prompts, steps=STEPS, samples=many), device) / many
        plain = seconds(lambda: plain_loop(model, prompts, few), device) / few
    shape = f"d = {dim}, n = {examples}, {layers} layers, {heads} heads, width {width}{', history' * history}, {device}"
    print(f"\n{shape}: {1e6 * ours / STEPS:.3g} us a thought, {plain / ours:.1f} times as fast as the plain loop")
    assert plain / ours > 5
