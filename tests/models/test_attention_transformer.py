"""One layer of nonlinear attention: its literal forward on tokens, its state, and what is decoded with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import Tensor

from ttc_fast import (
    AttentionState,
    AttentionTransformer,
    BernoulliSampling,
    GaussianNoise,
    Heads,
    LinearRegression,
    LinearTransformer,
    StochasticDecoder,
    evaluate,
)
from ttc_fast.decoding import chain
from ttc_fast.decoding.rules import Rule
from ttc_fast.models.tokens import token_matrix

DIM, EXAMPLES = 3, 7
ACTIVATIONS: list[Any] = ["softmax", "sigmoid", "relu", "gelu", "identity"]

BY_HAND: dict[str, Any] = {
    "softmax": lambda s: np.exp(s) / np.exp(s).sum(),
    "sigmoid": lambda s: 1 / (1 + np.exp(-s)),
    "relu": lambda s: s * (s > 0),
    "gelu": lambda s: s * (1 + erf(s / math.sqrt(2))) / 2,
    "identity": lambda s: s,
}


def model(activation: Any, heads: int = 2, hidden: int = 0) -> AttentionTransformer:
    """Weights in float64 of a size at which all that is added is of order one."""
    generator = torch.Generator().manual_seed(4)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    V, W = drawn(heads, 8, 8) / 2, drawn(heads, 8, 8)
    mlp = (drawn(hidden, DIM), drawn(hidden), drawn(hidden, DIM) / 4) if hidden else None
    return AttentionTransformer(V, W, activation=activation, mlp=mlp)


def by_hand(one: AttentionTransformer, x: Any, y: Any, w: Any) -> Any:
    """One prompt and thought, head by head, in NumPy."""
    tokens = np.stack([np.array([*row, label, *np.zeros(DIM), 0.0]) for row, label in zip(x, y)])
    z = np.array([*np.zeros(DIM + 1), *w, 1.0])
    added = np.zeros(8)
    for V, W in zip(one.V.detach().numpy(), one.W.detach().numpy()):
        scores = np.array([t @ W @ z for t in tokens]) / math.sqrt(8)
        weights = BY_HAND[one.activation](scores) / (1 if one.activation == "softmax" else EXAMPLES)
        added = added + V @ sum(a * t for a, t in zip(weights, tokens))
    u = w + added[DIM + 1 : -1]
    if one.mlp is not None:
        keys, offsets, values = (part.detach().numpy() for part in one.mlp)
        u = u + BY_HAND[one.mlp_activation](keys @ w + offsets) @ values
    return u


@pytest.mark.parametrize("hidden", [0, 6])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_state_is_the_literal_forward(activation: str, hidden: int) -> None:
    """float64 to 1e-12 of outputs of order one, and by hand."""
    prompts = LinearRegression(DIM, EXAMPLES, label_noise=0.2).sample(2, seed=1, dtype=torch.float64)
    w = torch.randn(2, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one = model(activation, hidden=hidden)
    with torch.no_grad():
        tokens = one(token_matrix(prompts.x, prompts.y, w), EXAMPLES)
        found = one.output(one.prefill(prompts), w[:, None])[:, 0]
    torch.testing.assert_close(tokens[:, DIM + 1 : -1, -1], found, rtol=1e-12, atol=1e-12)
    hand = [by_hand(one, x, y, each) for x, y, each in zip(prompts.x.numpy(), prompts.y.numpy(), w.numpy())]
    np.testing.assert_allclose(found, np.stack(hand), rtol=1e-12, atol=1e-12)
    assert (found - w).abs().max() > 0.1


def test_identity_is_a_linear_transformer() -> None:
    V, W = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prompts = LinearRegression(DIM, EXAMPLES).sample(3, dtype=torch.float64)
    w = torch.randn(3, 4, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    linear, attention = LinearTransformer(V[None], W[None]), AttentionTransformer(V, W, activation="identity", scale=1)
    with torch.no_grad():
        expected = linear.output(linear.prefill(prompts), w)
        torch.testing.assert_close(attention.output(attention.prefill(prompts), w), expected, rtol=1e-12, atol=1e-12)


def test_state_by_hand() -> None:
    """A and c, several kinds of heads, keys of all prompts: against the formula in NumPy."""
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    first = Heads(drawn(2, 3, 5, 4), drawn(2, 3, 5), drawn(2, 3, 5, 4), "softmax")
    second = Heads(drawn(1, 1, 6, 4), drawn(1, 1, 6), drawn(1, 1, 6, 4), "gelu")
    state, w = AttentionState((first, second), drawn(2, 4, 4), drawn(2, 4)), drawn(2, 3, 4)
    assert state.A is not None
    assert state.c is not None
    found = state.output(w).numpy()
    for b in range(2):
        for n in range(3):
            u = state.A[b].numpy() @ w[b, n].numpy() + state.c[b].numpy()
            for heads, row in ((first, b), (second, 0)):
                for K, k, V in zip(heads.keys[row].numpy(), heads.offsets[row].numpy(), heads.values[row].numpy()):
                    u = u + V.T @ BY_HAND[heads.activation](K @ w[b, n].numpy() + k)
            np.testing.assert_allclose(found[b, n], u, rtol=1e-12, atol=1e-12)


def test_large_scores_do_not_overflow() -> None:
    keys = torch.tensor([[[[1000.0], [-1000.0]]]])
    state = AttentionState((Heads(keys, torch.zeros(1, 1, 2), keys.sign()),))
    assert state.output(torch.tensor([[[5.0], [-5.0]]])).flatten().tolist() == [6.0, -6.0]


@pytest.mark.parametrize("rule", [GaussianNoise(0.1), BernoulliSampling()])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bits_do_not_depend_on_the_chunk(activation: str, rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample or eleven, one prompt or five, whatever is held at a time: the same thoughts."""
    one = model(activation, hidden=5).float()
    kind: Any = "binary" if rule.binary else "continuous"
    prompts = LinearRegression(DIM, EXAMPLES, kind, label_noise=0.2).sample(5, seed=3)
    decoder = StochasticDecoder(one, rule)
    whole = decoder(prompts, steps=[1, 3], samples=11, seed=4).thoughts
    assert whole.isfinite().all()
    alone = decoder(prompts.part(3, 4), steps=[1, 3], samples=1, seed=4, first_sample=7).thoughts
    assert torch.equal(alone, whole[:, 3:4, 7:8])
    monkeypatch.setattr(chain, "TILE", 40)
    assert torch.equal(decoder(prompts, steps=[1, 3], samples=11, seed=4).thoughts, whole)
    table = evaluate(decoder, prompts, steps=3, samples=8, techniques=["mean", "best_of_n"])
    assert not np.isnan(table.values).any()


def test_wider_dtype() -> None:
    one, prompts = model("softmax", hidden=4), LinearRegression(DIM, EXAMPLES).sample(2)
    with torch.no_grad():
        assert one.prefill(prompts).heads[0].keys.dtype == torch.float64
        assert one.float().prefill(prompts).heads[0].keys.dtype == torch.float32


def test_refusals() -> None:
    V, W = torch.zeros(2, 2, 8, 8)
    with pytest.raises(ValueError, match="activation: expected one of 'softmax', 'sigmoid'"):
        AttentionTransformer(V, W, activation="tanh")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match=r"V: expected shape \[heads, 2d\+2, 2d\+2\], got \[8, 8\]"):
        AttentionTransformer(V[0], W[0])
    with pytest.raises(ValueError, match=r"mlp: expected keys \[m, d\], offsets \[m\] and values \[m, d\], got 2"):
        AttentionTransformer(V, W, mlp=(V, W))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match=r"mlp: keys: expected shape \[m, 3\], got \[5, 4\]"):
        AttentionTransformer(V, W, mlp=(torch.zeros(5, 4), torch.zeros(5), torch.zeros(5, 4)))
    keys = torch.zeros(2, 1, 3, 4)
    with pytest.raises(ValueError, match=r"offsets: expected shape \[2, 1, 3\], got \[2, 1, 4\]"):
        Heads(keys, torch.zeros(2, 1, 4), keys)
    heads = Heads(keys, keys[..., 0], keys)
    with pytest.raises(ValueError, match="heads: expected keys"):
        AttentionState((heads,), torch.zeros(3, 4, 4))
    with pytest.raises(TypeError, match="heads: expected a tuple of Heads"):
        AttentionState(heads)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match=r"heads: expected all tensors in torch.float32 on cpu"):
        AttentionState((heads,), torch.zeros(2, 4, 4).double())
    with pytest.raises(ValueError, match=r"backend: 'triton' cannot run: .*sees no GPU"):
        StochasticDecoder(AttentionTransformer(V, W), GaussianNoise(0.1))(
            LinearRegression(3, 4).sample(1), steps=1, samples=1, backend="triton"
        )
