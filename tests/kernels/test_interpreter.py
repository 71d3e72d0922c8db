"""Rung a of the kernels' evidence: their Python, run by Triton's interpreter, equals the reference."""

from __future__ import annotations

import functools
import importlib.util
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from decoding_problems import AUTHORS_RULES, fitting, problem
from equivalence import (
    ALL_RULES,
    Decode,
    check_equal_keys,
    check_exponentials,
    check_free_run,
    check_products_of_bits,
    check_resumed_bits,
    check_step,
    check_ties,
    check_uniforms,
)
from ttc_fast import (
    BernoulliSampling,
    GaussianNoise,
    GeometricDecay,
    RankOneNoise,
    SubsetSampling,
    decode,
)
from ttc_fast.decoding.rules import Rule

# Not importorskip: the interpreter's process imports this file before it chooses the interpreter.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

PRODUCTS = 6
"""Matrix products of a step in the precision "fp32"; each adds D + 1 roundings."""


def decode_thoughts(state: Tensor, w0: Tensor, **arguments: Any) -> Tensor:
    out = decode(state, w0, backend="triton", **arguments)
    if out.backend != "triton":
        raise ValueError(out.backend)
    return out.thoughts


@pytest.fixture
def triton_decode(interpreter: ProcessPoolExecutor) -> Decode:
    return lambda *tensors, **arguments: interpreter.submit(decode_thoughts, *tensors, **arguments).result()


def test_uniforms_are_equal_to_the_bit(triton_decode: Decode) -> None:
    check_uniforms(triton_decode, samples=100)


def test_ties(triton_decode: Decode) -> None:
    check_ties(triton_decode)


@pytest.mark.parametrize("dim", [3, 33])
def test_products_of_bits(triton_decode: Decode, dim: int) -> None:
    check_products_of_bits(triton_decode, dim)
    check_resumed_bits(triton_decode, dim)


def test_exponentials_of_the_same_words(triton_decode: Decode) -> None:
    check_exponentials(triton_decode, samples=30)


def roundings(dim: int) -> int:
    return PRODUCTS * (max(16, dim) + 1) + 8


slow = pytest.mark.slow
RULES = [pytest.param(rule, marks=() if i in (1, 2) else slow) for i, rule in enumerate(ALL_RULES)]
"""Noise, and bits at every step; the others take part in the slow run."""
AUTHORS = [pytest.param(rule, marks=() if i in (1, 5) else slow) for i, rule in enumerate(AUTHORS_RULES)]
"""Rank-one noise, and subsets."""


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dim", [1, 3, 16, 31, 64])
def test_teacher_forced_step(triton_decode: Decode, rule: Rule, dim: int) -> None:
    check_step(triton_decode, rule, dim, roundings=roundings(dim))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("dim", "samples"),
    [
        pytest.param(dim, samples, marks=() if (dim, samples) in ((3, 65), (31, 7)) else slow)
        for dim in (1, 3, 16, 31, 64)
        for samples in (1, 7, 65)
    ],
)
def test_free_run(triton_decode: Decode, rule: Rule, dim: int, samples: int) -> None:
    """Indices beyond 2^31. Of 14 steps the last alone has two blocks in a row that are not listed."""
    arguments = {"first_sample": 2**32 - samples, "first_prompt": 2**31 + 5, "roundings": roundings(dim)}
    for steps in (14,) if samples == 65 else (0, 1, 3, 4, 9):
        check_free_run(triton_decode, rule, dim, samples, steps, **arguments)


@pytest.mark.parametrize("rule", AUTHORS)
@pytest.mark.parametrize("dim", [3, 31, *(pytest.param(dim, marks=slow) for dim in (1, 16, 64, 130))])
def test_rules_of_the_authors(triton_decode: Decode, rule: Rule, dim: int) -> None:
    """20 ones of 31 are found by rounds, 21 and more by search."""
    check_step(triton_decode, rule, dim, samples=19, roundings=roundings(dim))
    check_free_run(triton_decode, rule, dim, 7, 5, roundings=roundings(dim), first_sample=2**32 - 7)


@pytest.mark.parametrize("ones", [5, pytest.param(21, marks=slow), pytest.param(40, marks=slow)])
def test_equal_keys(triton_decode: Decode, ones: int) -> None:
    """By rounds, and by search."""
    check_equal_keys(triton_decode, ones, 40)


def test_step_where_the_matrix_does_not_fit(triton_decode: Decode) -> None:
    check_step(triton_decode, ALL_RULES[1], 130, samples=5, roundings=roundings(130))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ALL_RULES[1:])
def test_where_the_matrix_does_not_fit(triton_decode: Decode, rule: Rule) -> None:
    check_step(triton_decode, rule, 130, samples=5, roundings=roundings(130))
    check_free_run(triton_decode, rule, 256, 3, 5, roundings=roundings(256))


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
def test_other_precisions(triton_decode: Decode, precision: str) -> None:
    """The interpreter multiplies in float32 whatever the precision."""
    precise = functools.partial(triton_decode, precision=precision)
    check_step(precise, GaussianNoise(0.3), 31, roundings=roundings(31))
    check_step(precise, BernoulliSampling("clip"), 31, roundings=roundings(31))


@pytest.mark.parametrize("rule", RULES + [pytest.param(fitting(rule, 7), marks=slow) for rule in AUTHORS_RULES[1::2]])
def test_bits_do_not_depend_on_the_chunk(triton_decode: Decode, rule: Rule) -> None:
    """Promise 2: batch, shard, number of samples, and the other asked steps."""
    state, w0 = problem(4, 7)
    arguments: dict[str, Any] = {"rule": rule, "steps": [1, 4, 13], "seed": 3}
    whole = triton_decode(state, w0, samples=70, **arguments)
    assert not whole.isnan().any()
    for b, n in ((1, 1), (4, 10), (3, 63)):
        assert torch.equal(triton_decode(state[:b], w0[:b], samples=n, **arguments), whole[:, :b, :n])
    shard = triton_decode(state[2:], w0[2:], samples=33, first_sample=37, first_prompt=2, **arguments)
    assert torch.equal(shard, whole[:, 2:, 37:])
    other_steps = triton_decode(state, w0, samples=5, **{**arguments, "steps": [13, 3, 1, 1, 0]})
    assert torch.equal(other_steps[[3, 0]], whole[[0, 2], :, :5])
    assert torch.equal(other_steps[4], w0[:, None].expand(4, 5, 7))
    per_sample = triton_decode(state, w0[:, None].repeat(1, 70, 1), samples=70, **arguments)
    assert torch.equal(per_sample, whole)


@pytest.mark.parametrize(("dim", "cut"), [(4, 1), (4, 3), (4, 4), (4, 6), pytest.param(140, 3, marks=slow)])
def test_a_chain_can_be_resumed(triton_decode: Decode, cut: int, dim: int) -> None:
    state, w0 = problem(2, dim)
    for rule in (GaussianNoise(GeometricDecay(0.3, 0.9)), BernoulliSampling(), RankOneNoise(0.05), SubsetSampling(2)):
        arguments: dict[str, Any] = {"rule": rule, "steps": [cut, 7], "samples": 9, "seed": 1}
        whole = triton_decode(state, w0, **arguments)
        assert torch.equal(triton_decode(state, whole[0], first_step=cut, **arguments), whole)


def test_ends(triton_decode: Decode) -> None:
    state, w0 = problem(2, 3)
    for rule in ALL_RULES:
        assert triton_decode(state, w0, rule=rule, steps=[], samples=4, seed=0).shape == (0, 2, 4, 3)
        assert triton_decode(state, w0, rule=rule, steps=[1, 2], samples=0, seed=0).shape == (2, 2, 0, 3)
        assert triton_decode(state[:0], w0[:0], rule=rule, steps=[1], samples=3, seed=0).shape == (1, 0, 3, 3)


def opcheck_and_compile() -> None:
    from ttc_fast import LinearAttention, LinearRegression, StochasticDecoder

    state, w0 = problem(2, 3)
    arguments = (state, w0, *BernoulliSampling("clip").encode(4), [1, 4], 5, -1, 2, 3, 0, "triton", "fp32")
    torch.library.opcheck(torch.ops.ttc_fast.decode.default, arguments)
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=9), GaussianNoise(0.1))
    prompts = LinearRegression(3, 9).sample(2)
    compiled = torch.compile(decoder, fullgraph=True, backend="aot_eager")
    asked: dict[str, Any] = {"steps": [2, 5], "samples": 4, "backend": "triton"}
    torch.testing.assert_close(compiled(prompts, **asked).thoughts, decoder(prompts, **asked).thoughts, rtol=0, atol=0)


def out_in_any_memory() -> None:
    """Kernels store 16 bytes at once where nothing is padded; to memory that is not aligned to them thoughts are
    copied."""
    from ttc_fast import decode

    state, w0 = problem(2, 16)
    asked: dict[str, Any] = {"rule": GaussianNoise(0.1), "steps": [1, 6], "samples": 9, "seed": 1, "backend": "triton"}
    thoughts = decode(state, w0, **asked).thoughts
    for first in (0, 1):
        out = torch.zeros(thoughts.numel() + 4)[first:][: thoughts.numel()].view(thoughts.shape)
        assert (out.data_ptr() % 16 == 0) == (first == 0)
        decode(state, w0, out=out, **asked)
        assert torch.equal(out, thoughts)


def test_out_in_any_memory(interpreter: ProcessPoolExecutor) -> None:
    interpreter.submit(out_in_any_memory).result()


def test_operator_is_well_formed(interpreter: ProcessPoolExecutor) -> None:
    interpreter.submit(opcheck_and_compile).result()


def test_what_the_kernels_refuse(triton_decode: Decode) -> None:
    state, w0 = problem(1, 257)
    with pytest.raises(ValueError, match="'triton' cannot run: it decodes up to 256 coefficients, the state has 257"):
        triton_decode(state, w0, rule=GaussianNoise(0.1), steps=[1], samples=1)
    state, w0 = problem(1, 3, torch.float64)
    with pytest.raises(ValueError, match=r"it decodes float32 on cpu, the state is torch\.float64 on cpu"):
        triton_decode(state, w0, rule=GaussianNoise(0.1), steps=[1], samples=1)
    with pytest.raises(ValueError, match="precision: expected one of 'fp32', 'ieee', 'tf32', got 'fp16'"):
        triton_decode(state, w0, rule=GaussianNoise(0.1), steps=[1], samples=1, precision="fp16")
