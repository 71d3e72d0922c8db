"""Linear transformers of any depth and width: their literal forward on tokens, and the affine map it collapses to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ttc_fast import (
    GaussianNoise,
    LinearAttention,
    LinearRegression,
    LinearTransformer,
    RankOneNoise,
    StochasticDecoder,
    evaluate,
    overlay,
)
from ttc_fast.models.tokens import token_matrix

DIM, EXAMPLES = 3, 7


def weights(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Every entry drawn, of a size at which six layers neither vanish nor grow: outputs are of order one."""
    generator = torch.Generator().manual_seed(seed)
    size = 2 * DIM + 2
    V, W = (torch.randn(*shape, size, size, generator=generator, dtype=torch.float64) for _ in range(2))
    return 0.3 * V / math.sqrt(shape[-1] * size), 0.3 * W / math.sqrt(size)


def by_hand(model: LinearTransformer, x: Any, y: Any, w: Any) -> Any:
    """One prompt and thought, token by token and head by head, in NumPy."""
    tokens = [np.array([*row, label, *np.zeros(DIM), 0.0]) for row, label in zip(x, y)]
    z = np.array([*np.zeros(DIM + 1), *w, 1.0])
    for V, W in model.layers:
        value, score = V.detach().numpy(), W.detach().numpy()

        def attended(query: Any, keys: Any, V: Any = value, W: Any = score) -> Any:
            return sum(V[h] @ k * (k @ W[h] @ query) for h in range(len(V)) for k in keys) / EXAMPLES

        z = z + attended(z, tokens)
        tokens = [t + attended(t, tokens[: i + 1] if model.causal else tokens) for i, t in enumerate(tokens)]
    return z[DIM + 1 : -1]


def models(causal: bool) -> list[LinearTransformer]:
    """One to six layers with one to four heads, and looped ones."""
    deep = [LinearTransformer(*weights(L, H), causal=causal) for L in range(1, 7) for H in range(1, 5)]
    return deep + [LinearTransformer(*weights(2), looped=L, causal=causal) for L in (1, 3, 6)]


@pytest.mark.parametrize("causal", [False, True])
def test_state_is_the_literal_forward(causal: bool) -> None:
    """float64 to 1e-12 of outputs of order one: some 100 sums of 8 terms, each rounded to 1e-16."""
    prompts = LinearRegression(DIM, EXAMPLES, label_noise=0.2).sample(2, seed=1, dtype=torch.float64)
    w = torch.randn(2, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for model in models(causal):
        with torch.no_grad():
            tokens = model(token_matrix(prompts.x, prompts.y, w), EXAMPLES)
            found = model.output(model.prefill(prompts), w[:, None])[:, 0]
        torch.testing.assert_close(tokens[:, DIM + 1 : -1, -1], found, rtol=1e-12, atol=1e-12)
        assert torch.equal(tokens[:, -1, -1], torch.ones(2).double())
        hand = [by_hand(model, x, y, one) for x, y, one in zip(prompts.x.numpy(), prompts.y.numpy(), w.numpy())]
        np.testing.assert_allclose(found, np.stack(hand), rtol=1e-12, atol=1e-12)
        assert (found - w).abs().max() > 0.01  # the layers do something


def test_depth_width_and_mask_matter() -> None:
    """Outputs differ between one layer and two, one head and two, full and causal: the test above sees them."""
    prompts = LinearRegression(DIM, EXAMPLES).sample(1, dtype=torch.float64)
    V, W = weights(2, 2)
    kinds = {
        "two layers": LinearTransformer(V, W), "causal": LinearTransformer(V, W, causal=True),
        "one layer": LinearTransformer(V[:1], W[:1]), "one head": LinearTransformer(V[:, :1], W[:, :1]),
        "looped": LinearTransformer(V[0], W[0], looped=2),
    }  # fmt: skip
    with torch.no_grad():
        states = [model.prefill(prompts).linear for model in kinds.values()]
    for i, one in enumerate(states):
        assert all((one - other).abs().max() > 1e-4 for other in states[:i])


def test_literal_chain_ignores_earlier_thoughts() -> None:
    """Four thoughts appended one after the other are those of the decode."""
    prompts = LinearRegression(DIM, EXAMPLES, label_noise=0.1).sample(3, dtype=torch.float64)
    model = LinearTransformer(*weights(3, 2))
    Z = token_matrix(prompts.x, prompts.y, torch.zeros(3, DIM, dtype=torch.float64))
    with torch.no_grad():
        for _ in range(4):
            Z = model(Z, EXAMPLES)
    thoughts = StochasticDecoder(model, GaussianNoise(0.0))(prompts, steps=range(5), samples=1).thoughts[:, :, 0]
    torch.testing.assert_close(Z[:, DIM + 1 : -1, EXAMPLES:].permute(2, 0, 1), thoughts, rtol=1e-12, atol=1e-12)


def test_one_layer_of_gradient_descent() -> None:
    """The weights of one head of linear attention give its state, also spread over two heads of half the step."""
    one = LinearAttention.gradient_descent(DIM, step_size=0.5, dtype=torch.float64)
    prompts = LinearRegression(DIM, EXAMPLES).sample(4, dtype=torch.float64)
    V, W = one.V.detach(), one.W.detach()
    with torch.no_grad():
        expected = one.prefill(prompts).linear
        for model in (LinearTransformer(V[None, None], W[None, None]),
                      LinearTransformer(torch.stack((V, V))[None] / 2, torch.stack((W, W))[None])):  # fmt: skip
            torch.testing.assert_close(model.prefill(prompts).linear, expected, rtol=1e-13, atol=1e-13)


def test_state_has_the_wider_dtype() -> None:
    """Weights in float64 on prompts in float32 give a state in float64; the bits of a prompt are its own."""
    prompts, model = LinearRegression(DIM, EXAMPLES).sample(5), LinearTransformer(*weights(2, 2))
    with torch.no_grad():
        whole = model.prefill(prompts).linear
        assert whole.dtype == torch.float64
        single = model.float()
        found = single.prefill(prompts).linear
        assert found.dtype == torch.float32
        assert torch.equal(found[3:4], single.prefill(prompts.part(3, 4)).linear)
        causal = LinearTransformer(single.V.data, single.W.data, causal=True)
        assert torch.equal(causal.prefill(prompts).linear[3:4], causal.prefill(prompts.part(3, 4)).linear)
    torch.testing.assert_close(found.double(), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", [GaussianNoise(0.2), RankOneNoise(0.05)])
def test_kernels_and_laws_take_it(rule: GaussianNoise | RankOneNoise) -> None:
    """Its state is not symmetric; every figure has a law. One of 20 is 4.5 standard errors off once in 7,000 seeds."""
    V, W = weights(2, 3, seed=2)
    decoder = StochasticDecoder(LinearTransformer(V.float(), W.float()), rule)
    prompts = LinearRegression(DIM, EXAMPLES, label_noise=0.1).sample(8, seed=3)
    names = ["greedy", "single", "mean"]
    table = evaluate(decoder, prompts, steps=[1, 4], samples=512, budgets=[1, 16, 512], seed=5, techniques=names)
    table = overlay(decoder, prompts, table)
    checks = table.theory_checks()
    assert len(checks) == len(table.keys) == 20
    assert max(abs(check.t) for check in checks.values()) < 4.5
    native = decoder(prompts, steps=[4], samples=3)
    assert native.backend != "reference"
    reference = decoder(prompts, steps=[4], samples=3, backend="reference")
    torch.testing.assert_close(native.thoughts, reference.thoughts, rtol=1e-4, atol=1e-4)


def test_refusals() -> None:
    V, W = weights(2, 3)
    with pytest.raises(ValueError, match=r"V: expected shape \[heads, 2d\+2, 2d\+2\], got \[2, 3, 8, 8\]"):
        LinearTransformer(V, W, looped=3)
    with pytest.raises(ValueError, match=r"W: expected shape \[2, 3, 8, 8\], got \[3, 8, 8\]"):
        LinearTransformer(V, W[0])
    with pytest.raises(ValueError, match="looped: expected an integer from 1"):
        LinearTransformer(V[0], W[0], looped=0)
    with pytest.raises(TypeError, match="causal: expected True or False, got 1"):
        LinearTransformer(V, W, causal=1)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match=r"W: expected torch\.float64 on cpu as V"):
        LinearTransformer(V, W.float())
    huge = LinearTransformer(V * 1e200, W * 1e200)
    with pytest.raises(ValueError, match="V, W: expected weights with which the state"):
        huge.prefill(LinearRegression(DIM, EXAMPLES).sample(1, dtype=torch.float64))
