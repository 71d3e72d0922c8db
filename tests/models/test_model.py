"""The transformer: its literal forward on tokens, its state, and what its thoughts compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ttc_fast import (
    BernoulliSampling,
    GaussianNoise,
    LinearAttention,
    LinearRegression,
    Prompts,
    StochasticDecoder,
    decode,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.numerics import rng


def literal_decode(model: LinearAttention, x: Tensor, y: Tensor, rule: Rule, steps: int, seed: int) -> Tensor:
    """One sample of each prompt, by appending tokens: thoughts w_0 ... w_T, [T+1, B, d]."""
    prompts, examples, dim = x.shape
    Z = model.tokens(x, y, x.new_zeros(prompts, dim))
    for t in range(steps):
        Z = model(Z, examples)
        u = Z[:, dim + 1 : -1, -1]
        stream = rng.Stream.NOISE if isinstance(rule, GaussianNoise) else rng.Stream.BERNOULLI
        words = rng.philox(
            rng.counter(stream, prompt=torch.arange(prompts)[:, None], coordinate=torch.arange(dim), block=t // 4), seed
        )
        if isinstance(rule, GaussianNoise):
            thought = u + rule.scales(steps)[t] * rng.normals(words, x.dtype)[t % 4]
        else:
            assert isinstance(rule, BernoulliSampling)
            thought = (rng.uniform(words[t % 4], x.dtype) < rule.probability(u)).to(x.dtype)
        Z = torch.cat((Z[:, :, :-1], torch.cat((Z[:, : dim + 1, -1], thought, Z[:, -1:, -1]), 1)[:, :, None]), 2)
    return Z[:, dim + 1 : -1, examples:].permute(2, 0, 1)


@pytest.mark.parametrize(
    "rule", [GaussianNoise(0.0), GaussianNoise(0.3), BernoulliSampling(), BernoulliSampling("clip")]
)
@pytest.mark.parametrize(("dim", "examples", "steps"), [(1, 3, 4), (3, 5, 9), (8, 20, 17), (16, 8, 6)])
def test_literal_decode_equals_recurrence(rule: Rule, dim: int, examples: int, steps: int) -> None:
    """float64 to 1e-12: thoughts have no x- and y-block, so attention over the chain adds nothing."""
    kind: Any = "continuous" if isinstance(rule, GaussianNoise) else "binary"
    prompts = LinearRegression(dim, examples, kind, label_noise=0.2).sample(5, seed=1, dtype=torch.float64)
    model = LinearAttention.gradient_descent(dim, examples=examples, dtype=torch.float64)
    literal = literal_decode(model, prompts.x, prompts.y, rule, steps, seed=9)
    thoughts = StochasticDecoder(model, rule)(prompts, steps=range(steps + 1), samples=1, seed=9).thoughts[:, :, 0]
    torch.testing.assert_close(thoughts, literal.detach(), rtol=1e-12, atol=1e-12)


def test_prefill_of_any_weights() -> None:
    """The state reproduces the literal forward for every V that does not read thoughts, and every W."""
    generator = torch.Generator().manual_seed(0)
    d, n = 3, 6
    V = torch.zeros(2 * d + 2, 2 * d + 2, dtype=torch.float64)
    V[d + 1 : -1, : d + 1] = torch.randn(d, d + 1, generator=generator, dtype=torch.float64)
    model = LinearAttention(V, torch.randn(V.shape, generator=generator, dtype=torch.float64))
    prompts = LinearRegression(d, n).sample(4, dtype=torch.float64)
    w = torch.randn(4, d, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        token = model(model.tokens(prompts.x, prompts.y, w), n)[:, :, -1]
        query = torch.cat((w, -torch.ones(4, 1, dtype=torch.float64)), 1)
        thought = w + torch.einsum("bij,bj->bi", model.prefill(prompts).linear, query)
    torch.testing.assert_close(token[:, d + 1 : -1], thought, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(token[:, : d + 1], torch.zeros(4, d + 1, dtype=torch.float64))


def test_noise_free_chain_is_gradient_descent() -> None:
    """Against gradient descent of the least-squares loss, by hand in NumPy."""
    prompts = LinearRegression(4, 10, label_noise=0.3).sample(3, dtype=torch.float64)
    model = LinearAttention.gradient_descent(4, step_size=0.4, dtype=torch.float64)
    thoughts = StochasticDecoder(model, GaussianNoise(0.0))(prompts, steps=[1, 2, 10], samples=1).thoughts
    for b in range(3):
        x, y, w = prompts.x[b].numpy(), prompts.y[b].numpy(), np.zeros(4)
        for t in range(1, 11):
            w = w - 0.4 * x.T @ (x @ w - y) / 10
            if t in (1, 2, 10):
                np.testing.assert_allclose(thoughts[[1, 2, 10].index(t), b, 0], w, rtol=1e-12)


def test_preconditioner() -> None:
    covariance, n = np.array([2.0, 0.5, 0.1]), 12
    gamma = (1 + 1 / n) * np.diag(covariance) + covariance.sum() / n * np.eye(3)
    for given in (covariance, np.diag(covariance)):
        model = LinearAttention.preconditioned(torch.tensor(given), n, dtype=torch.float64)
        np.testing.assert_allclose(-model.V[4:-1, :3].detach(), np.linalg.inv(gamma), rtol=1e-14)


def test_default_step_is_the_preconditioner_of_the_identity() -> None:
    model = LinearAttention.gradient_descent(5, examples=20)
    torch.testing.assert_close(model.V, LinearAttention.preconditioned([1.0] * 5, 20).V)
    assert model.V[6, 0].item() == pytest.approx(-20 / 26)


def test_module() -> None:
    """State dict and representation; forward is decode of the prefilled state."""
    model = LinearAttention.gradient_descent(2, step_size=0.5)
    decoder = StochasticDecoder(model, GaussianNoise(0.1))
    copy = StochasticDecoder(LinearAttention.gradient_descent(2, step_size=0.9), GaussianNoise(0.1))
    copy.load_state_dict(decoder.state_dict())
    prompts = LinearRegression(2, 4).sample(3, first_prompt=7)
    out = copy(prompts, steps=[3], samples=2, seed=5)
    state = model.prefill(prompts).linear
    by_hand = decode(state, torch.zeros(3, 2), rule=decoder.rule, steps=[3], samples=2, seed=5, first_prompt=7)
    assert torch.equal(out.thoughts, by_hand.thoughts)
    assert not out.thoughts.requires_grad
    assert "GaussianNoise(noise_scale=0.1)" in repr(decoder)
    assert "dim=2" in repr(decoder)


def test_module_compiles_into_one_graph() -> None:
    prompts = LinearRegression(3, 5, "binary").sample(2)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=5), BernoulliSampling())
    compiled = torch.compile(decoder, fullgraph=True, backend="aot_eager")
    arguments = {"steps": [1, 4], "samples": 5, "seed": 2**63 + 1}
    assert torch.equal(compiled(prompts, **arguments).thoughts, decoder(prompts, **arguments).thoughts)


def test_model_refuses() -> None:
    with pytest.raises(ValueError, match="V: expected shape"):
        LinearAttention(torch.zeros(5, 5), torch.zeros(5, 5))
    with pytest.raises(ValueError, match=r"W: expected shape \[4, 4\], got \[6, 6\]"):
        LinearAttention(torch.zeros(4, 4), torch.zeros(6, 6))
    with pytest.raises(ValueError, match="step_size: expected a number, or examples"):
        LinearAttention.gradient_descent(3)
    with pytest.raises(ValueError, match=r"covariance: expected shape \[d\] or \[d, d\], got \[2, 3\]"):
        LinearAttention.preconditioned(torch.ones(2, 3), 5)
    model = LinearAttention.gradient_descent(3, step_size=0.1)
    with pytest.raises(ValueError, match=r"x: expected shape \[B, n, 3\], got \[2, 5, 4\]"):
        model.prefill(Prompts(torch.ones(2, 5, 4), torch.ones(2, 5)))
    with torch.no_grad():
        model.V[4, 4] = 1.0
    with pytest.raises(ValueError, match="V: expected zeros"):
        model.prefill(Prompts(torch.ones(2, 5, 3), torch.ones(2, 5)))
