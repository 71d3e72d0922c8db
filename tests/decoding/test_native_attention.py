"""The fused decode of attention states in C++: equal to the reference, and to itself on every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erfc
from torch import Tensor

from attention_equivalence import attention_problem, check_attention
from decoding_problems import AUTHORS_RULES, RULES, fitting
from equivalence import EPS
from ttc_fast import (
    AttentionState,
    AttentionTransformer,
    BernoulliSampling,
    GaussianNoise,
    Heads,
    LargestCoefficients,
    LinearRegression,
    RankOneNoise,
    StochasticDecoder,
    SubsetSampling,
    evaluate,
)
from ttc_fast.decoding.attention_decode import attention_backend, decode_attention
from ttc_fast.decoding.rules import Rule
from ttc_fast.numerics import extension

_C = pytest.importorskip("ttc_fast._C", reason="the C++ extension is not built")
ACTIVATIONS: list[Any] = ["softmax", "sigmoid", "relu", "gelu", "identity"]
EVERY_RULE = [*RULES, BernoulliSampling("sigmoid", 0.0), *AUTHORS_RULES]
SHAPES: list[dict[str, Any]] = [
    {"dim": 1, "keys": 1}, {"dim": 3, "keys": 7, "heads": 2, "hidden": 5, "affine": True},
    {"dim": 16, "keys": 64}, {"dim": 33, "keys": 131, "heads": 2, "affine": True},
]  # fmt: skip
"""Fewer keys than a register's rows, a chunk of them, and two chunks and a rest."""


def native_decode(state: AttentionState, w0: Tensor, **arguments: Any) -> Tensor:
    return decode_attention(state, w0, backend="native", **arguments).thoughts


def test_gelu(isa: str) -> None:
    """|x| q within 2^-23 and the result's rounding, as csrc/math.h says."""
    x = np.linspace(-14, 14, 2**18, dtype=np.float32)
    size = np.abs(x.astype(np.float64))
    exact = np.maximum(x, 0) - size * erfc(size / np.sqrt(2)) / 2
    assert (np.abs(_C.gelu(x, isa) - exact) <= 2.0**-23 + EPS * np.abs(exact)).all()
    ends = np.array([0, -0.0, 1e30, -1e30, 3e38, -3e38, np.nan, 100] * 2, dtype=np.float32)
    np.testing.assert_allclose(_C.gelu(ends, isa)[:8], [0, 0, 1e30, 0, 3e38, 0, np.nan, 100], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(isa: str, activation: str, shape: dict[str, Any]) -> None:
    state, w0 = attention_problem(2, activation=activation, **shape)
    check_attention(native_decode, state, w0, GaussianNoise(0.3), samples=37, steps=4)


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_rules(isa: str, rule: Rule) -> None:
    state, w0 = attention_problem(2, 21, "softmax", 9, heads=2, hidden=6, affine=True)
    check_attention(native_decode, state, w0, rule, samples=53, steps=6)


def test_instruction_sets_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that have a fused multiply-add, whatever the width of their vectors."""
    for shape in SHAPES:
        for activation in ACTIVATIONS:
            state, w0 = attention_problem(2, activation=activation, **shape)
            for rule in (
                GaussianNoise(0.3),
                RankOneNoise(0.05),
                BernoulliSampling(),
                fitting(SubsetSampling(5), len(w0[0])),
            ):
                results = []
                for name in [name for name in extension.isas() if name != "portable"]:
                    monkeypatch.setenv(extension.ISA_VARIABLE, name)
                    results.append(native_decode(state, w0, rule=rule, steps=[1, 6], samples=70, seed=1))
                assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("activation", ["softmax", "gelu"])
def test_bits_do_not_depend_on_the_chunk(isa: str, activation: str) -> None:
    """Promise 2: batch, shard, number of samples, threads, the other asked steps, and where a chain is resumed."""
    state, w0 = attention_problem(4, 7, activation, 70, heads=2, hidden=3)

    def of_prompts(first: int, end: int) -> AttentionState:
        one, block = state.heads
        part = Heads(one.keys[first:end], one.offsets[first:end], one.values[first:end], one.activation)
        return AttentionState((part, block))

    for rule in (GaussianNoise(0.2), BernoulliSampling(), SubsetSampling(3), LargestCoefficients(2)):
        arguments: dict[str, Any] = {"rule": rule, "steps": [1, 3, 6], "seed": 3}
        torch.set_num_threads(2)
        whole = native_decode(state, w0, samples=115, **arguments)
        for threads, b, n in ((1, 1, 1), (3, 4, 10), (2, 2, 63)):
            torch.set_num_threads(threads)
            assert torch.equal(native_decode(of_prompts(0, b), w0[:b], samples=n, **arguments), whole[:, :b, :n])
        shard = native_decode(of_prompts(2, 4), w0[2:], samples=6, first_sample=109, first_prompt=2, **arguments)
        assert torch.equal(shard, whole[:, 2:, 109:])
        other = native_decode(state, w0, samples=5, **{**arguments, "steps": [6, 2, 1, 1]})
        assert torch.equal(other[[3, 0]], whole[[0, 2], :, :5])
        resumed = native_decode(state, whole[1], samples=115, first_step=3, **{**arguments, "steps": [3, 6]})
        assert torch.equal(resumed, whole[1:])


def test_masked_keys_and_large_scores(isa: str) -> None:
    """An offset of -infinity takes a key out, wherever it stands; scores beyond exp's range do not overflow."""
    state, w0 = attention_problem(2, 5, "softmax", 80)
    one = state.heads[0]
    masked = torch.arange(80) % 3 == 0
    masked[:64] |= torch.tensor([True] * 63 + [False])
    offsets = torch.where(masked, -torch.inf, one.offsets)
    left = Heads(one.keys[:, :, ~masked], one.offsets[:, :, ~masked], one.values[:, :, ~masked])
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.1), "steps": [1, 5], "samples": 20}
    got = native_decode(AttentionState((Heads(one.keys, offsets, one.values),)), w0, **arguments)
    torch.testing.assert_close(got, native_decode(AttentionState((left,)), w0, **arguments), rtol=0, atol=1e-6)
    keys = torch.tensor([[[[1000.0], [-1000.0]]]])
    large = AttentionState((Heads(keys, torch.zeros(1, 1, 2), keys.sign()),))
    got = native_decode(large, torch.tensor([[5.0], [-5.0]]), rule=GaussianNoise(0.0), steps=[1], samples=1)
    assert got.flatten().tolist() == [6.0, -6.0]


def test_any_layout_of_tensors(isa: str) -> None:
    """Strided parts, thoughts written into a part of a larger tensor, nothing asked, no samples, no prompts."""
    state, w0 = attention_problem(3, 6, "softmax", 9, affine=True)
    one = state.heads[0]
    assert state.A is not None
    strided = AttentionState(
        (Heads(one.keys.mT.contiguous().mT, one.offsets.repeat_interleave(2, 2)[:, :, ::2], one.values, "softmax"),),
        state.A.mT.contiguous().mT, state.c,
    )  # fmt: skip
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.1), "steps": [0, 2, 5]}
    expected = native_decode(state, w0, samples=11, **arguments)
    larger = torch.full((3, 5, 20, 6), -7.0)
    got = native_decode(strided, w0.T.contiguous().T, samples=11, out=larger[:, 1:4, 4:15], **arguments)
    assert torch.equal(got, expected)
    assert torch.equal(larger[:, 1:4, 4:15], expected)
    assert int((larger == -7.0).sum()) == larger.numel() - expected.numel()
    assert native_decode(state, w0, samples=0, **arguments).shape == (3, 3, 0, 6)
    assert native_decode(state, w0, samples=2, **{**arguments, "steps": []}).shape == (0, 3, 2, 6)


def test_models_run_in_it() -> None:
    """By default, from the transformer to the table; in float64 and with rules of one's own in PyTorch."""

    class Halved(Rule):
        def thought(self, u: Tensor, w: Tensor, draws: Any) -> Tensor:
            return u / 2

    model = AttentionTransformer.initial(4, 2, hidden=5, scale=0.3)
    prompts = LinearRegression(4, 9).sample(3)
    arguments: dict[str, Any] = {"steps": [1, 4], "samples": 6, "seed": 5}
    rules: list[tuple[Rule, str]] = [
        (GaussianNoise(0.1), "native"),
        (SubsetSampling(2), "native"),
        (Halved(), "reference"),
    ]
    for rule, expected in rules:
        decoder = StochasticDecoder(model, rule)
        out = decoder(prompts, **arguments)
        assert out.backend == expected
        other = decoder(prompts, backend="reference", **arguments)
        assert other.backend == "reference"
        torch.testing.assert_close(out.thoughts, other.thoughts, rtol=0, atol=1e-4)
    wide = StochasticDecoder(model.double(), GaussianNoise(0.1))
    assert wide(prompts, **arguments).backend == "reference"
    with pytest.raises(ValueError, match=r"'native' cannot run: it decodes float32 on cpu, .*torch.float64"):
        wide(prompts, backend="native", **arguments)
    table = evaluate(
        StochasticDecoder(model.float(), GaussianNoise(0.1)), prompts, steps=3, samples=8, techniques=["mean"]
    )
    assert not np.isnan(table.values).any()


def test_compiles_into_one_graph() -> None:
    decoder = StochasticDecoder(AttentionTransformer.initial(3, 2, hidden=4), BernoulliSampling())
    prompts = LinearRegression(3, 5, "binary").sample(2)
    compiled = torch.compile(decoder, fullgraph=True, backend="aot_eager")
    arguments: dict[str, Any] = {"steps": [1, 4], "samples": 5, "seed": 2**63 + 1}
    assert torch.equal(compiled(prompts, **arguments).thoughts, decoder(prompts, **arguments).thoughts)


def test_refusals() -> None:
    state, w0 = attention_problem(2, 3, "softmax", 5)
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.1), "steps": [2], "samples": 5}
    with pytest.raises(ValueError, match="w0: expected thoughts of 2 prompts as the state, got 3"):
        decode_attention(state, torch.zeros(3, 3), **arguments)
    with pytest.raises(ValueError, match=r"w0: expected shape \[2, 3\], got \[2, 4\]"):
        decode_attention(state, torch.zeros(2, 4), **arguments)
    with pytest.raises(ValueError, match="ones: expected"):
        decode_attention(state, w0, **{**arguments, "rule": SubsetSampling(4)})
    with pytest.raises(ValueError, match="out: expected shape"):
        decode_attention(state, w0, out=torch.zeros(1, 2, 4, 3), **arguments)
    assert attention_backend(state, w0, "auto") == "native"
    assert attention_backend(state, w0.double(), "auto") == "reference"


ONE = (np.zeros((1, 1, 2, 3), np.float32), np.zeros((1, 1, 2), np.float32), np.zeros((1, 1, 2, 3), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": [(ONE[0][..., :2].copy(), *ONE[1:], "relu")]}, "keys: expected shape"),
        ({"heads": [(ONE[0], ONE[1][..., :1].copy(), ONE[2], "relu")]}, "offsets: expected shape"),
        ({"heads": [(*ONE[:2], ONE[2][:, :, :1].copy(), "relu")]}, "values: expected the shape"),
        ({"heads": [(*ONE, "tanh")]}, "activation: expected softmax"),
        ({"A": np.zeros((3, 3, 3), np.float32)}, r"A: expected shape \[B or 1, d, d\]"),
        ({"c": np.zeros((2, 4), np.float32)}, r"c: expected shape \[B or 1, d\]"),
        ({"w0": np.zeros((2, 4), np.float32)}, "keys: expected shape"),
        ({"rule": "subset", "ones": 4}, "ones: expected a number from 1 to d"),
    ],
)
def test_extension_checks_again(change: dict[str, Any], message: str) -> None:
    arguments = {
        "thoughts": np.zeros((1, 2, 5, 3), np.float32), "heads": [(*ONE, "softmax")], "A": None, "c": None,
        "w0": np.zeros((2, 3), np.float32), "scales": np.zeros(1, np.float32),
        "rule": "gaussian", "every_step": True, "temperature": 1.0, "ones": 0, "steps": [4], "seed": 0,
        "first_sample": 0, "first_prompt": 0, "first_step": 0, "threads": 1, "isa": extension.isas()[0], **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        _C.decode_attention_into(**arguments)
