"""The kernels on a GPU equal the reference: the checks of the interpreter and of the simulator, where it counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_equivalence import COMPILED, attention_problem, check_attention
from decoding_problems import AUTHORS_RULES, fitting, problem
from equivalence import (
    ALL_RULES,
    EXPONENTIAL_ERROR,
    check_exponentials,
    check_free_run,
    check_products_of_bits,
    check_resumed_bits,
    check_step,
    check_uniforms,
    compiled_roundings,
)
from ttc_fast import (
    AttentionState,
    BernoulliSampling,
    GaussianNoise,
    GeometricDecay,
    Heads,
    LargestCoefficients,
    LinearAttention,
    LinearRegression,
    RankOneNoise,
    StochasticDecoder,
    SubsetSampling,
    decode,
)
from ttc_fast.decoding.attention_decode import decode_attention
from ttc_fast.decoding.rules import Rule

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU"),
    pytest.mark.usefixtures("any_algorithm"),
]


def gpu(state: Tensor, w0: Tensor, **arguments: Any) -> Tensor:
    out = decode(state.cuda(), w0.cuda(), backend="triton", **arguments)
    assert out.backend == "triton"
    assert out.thoughts.is_cuda
    return out.thoughts.cpu()


def errors(dim: int) -> dict[str, Any]:
    """As for the simulator; but tensor cores cut where they add up, so each rounding may be twice as large."""
    return {"roundings": 2 * compiled_roundings(dim), "log_error": EXPONENTIAL_ERROR}


def test_words_are_equal_to_the_bit() -> None:
    check_uniforms(gpu)
    check_exponentials(gpu)


@pytest.mark.parametrize("dim", [1, 3, 16, 31, 64, 65, 128, 130, 256])
@pytest.mark.parametrize("rule", [*ALL_RULES, *AUTHORS_RULES])
def test_equals_the_reference(rule: Rule, dim: int) -> None:
    check_step(gpu, rule, dim, **errors(dim))
    if not isinstance(rule, BernoulliSampling):  # its flips are proved by bench/equivalence.py
        check_free_run(gpu, rule, dim, 67, 9, first_sample=2**32 - 67, first_prompt=2**31 + 5, **errors(dim))


@pytest.mark.parametrize("dim", [5, 16, 31, 64, 128, 200])
def test_products_of_bits(dim: int) -> None:
    check_products_of_bits(gpu, dim)
    check_resumed_bits(gpu, dim)


@pytest.mark.parametrize("rule", [SubsetSampling(21), LargestCoefficients(21), SubsetSampling(100)])
def test_subsets_by_search(rule: Rule) -> None:
    check_step(gpu, rule, 128, **errors(128))


@pytest.mark.parametrize("ones", [5, 12, 21, 40])
def test_of_equal_keys_the_first(ones: int) -> None:
    state, w = torch.zeros(1, 40, 41), torch.tensor([[0.5, -3.0, 0.5, 1.0, 0.0]]).repeat(1, 8)
    arguments: dict[str, Any] = {"rule": LargestCoefficients(ones), "steps": [1], "samples": 5, "seed": 1}
    assert torch.equal(gpu(state, w, **arguments), decode(state, w, backend="reference", **arguments).thoughts)


@pytest.mark.parametrize("dim", [7, 31, 64, 128, 200])
@pytest.mark.parametrize("rule", [*ALL_RULES, *AUTHORS_RULES])
def test_bits_do_not_depend_on_the_chunk_or_the_other_steps(rule: Rule, dim: int) -> None:
    state, w0 = problem(4, dim)
    rule = fitting(rule, dim)
    arguments: dict[str, Any] = {"rule": rule, "steps": [1, 4, 13], "seed": 3}
    whole = gpu(state, w0, samples=700, **arguments)
    assert not whole.isnan().any()
    assert torch.equal(gpu(state, w0, samples=700, **arguments), whole)  # again
    for b, n in ((1, 1), (4, 10), (3, 633)):
        assert torch.equal(gpu(state[:b], w0[:b], samples=n, **arguments), whole[:, :b, :n])
    shard = gpu(state[2:], w0[2:], samples=663, first_sample=37, first_prompt=2, **arguments)
    assert torch.equal(shard, whole[:, 2:, 37:])
    other = gpu(state, w0, samples=5, **{**arguments, "steps": [13, 3, 1, 1, 0]})
    assert torch.equal(other[[3, 0]], whole[[0, 2], :, :5])
    each = gpu(state, w0[:, None].repeat(1, 700, 1), samples=700, **arguments)
    assert torch.equal(each, whole)


@pytest.mark.parametrize(("dim", "cut"), [(4, 1), (4, 3), (33, 4), (4, 6), (140, 3)])
def test_a_chain_can_be_resumed(cut: int, dim: int) -> None:
    state, w0 = problem(2, dim)
    for rule in (GaussianNoise(GeometricDecay(0.3, 0.9)), BernoulliSampling(), RankOneNoise(0.05), SubsetSampling(2)):
        arguments: dict[str, Any] = {"rule": rule, "steps": [cut, 7], "samples": 9, "seed": 1}
        whole = gpu(state, w0, **arguments)
        assert torch.equal(gpu(state, whole[0], first_step=cut, **arguments), whole)


@pytest.mark.parametrize(("precision", "tolerance"), [("ieee", 1e-5), ("tf32", 1e-2)])
def test_other_precisions(precision: str, tolerance: float) -> None:
    state, w0 = problem(2, 31)
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.3), "steps": [1, 9], "samples": 9, "seed": 1}
    got, exact = gpu(state, w0, precision=precision, **arguments), gpu(state, w0, **arguments)
    torch.testing.assert_close(got, exact, rtol=0, atol=tolerance)


def test_more_than_2_to_the_31_coefficients() -> None:
    """Pages of thoughts beyond 32-bit indices: the last prompt equals the same prompt alone."""
    samples, dim = 2**21, 16
    state, w0 = problem(34, dim)
    arguments: dict[str, Any] = {"rule": BernoulliSampling(), "samples": samples, "seed": 1}
    whole = decode(state.cuda(), w0.cuda(), backend="triton", steps=[1, 2], **arguments).thoughts
    last = decode(
        state[-1:].cuda(), w0[-1:].cuda(), backend="triton", steps=[1, 2], first_prompt=33, **arguments
    ).thoughts
    assert whole[0].numel() > 2**30
    assert whole.numel() > 2**31
    assert torch.equal(whole[:, -1:], last)


def test_a_cuda_graph_can_capture_a_decode() -> None:
    state, w0 = (x.cuda() for x in problem(2, 31))
    arguments: dict[str, Any] = {
        "rule": GaussianNoise(0.3),
        "steps": [1, 4, 9],
        "samples": 100,
        "seed": 5,
        "checked": True,
    }
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):  # compiles, and sends the tables
        wanted = decode(state, w0, backend="triton", **arguments).thoughts
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = decode(state, w0, backend="triton", **arguments).thoughts
    got.zero_()
    graph.replay()
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("rule", [GaussianNoise(0.2), BernoulliSampling()])
def test_compiled_by_torch(rule: Rule) -> None:
    decoder = StochasticDecoder(LinearAttention.gradient_descent(3, examples=9).cuda(), rule)
    prompts = LinearRegression(3, 9).sample(2).to("cuda")
    asked: dict[str, Any] = {"steps": [2, 5], "samples": 4}
    wanted = decoder(prompts, **asked)
    assert wanted.backend == "triton"  # what "auto" takes
    compiled = torch.compile(decoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(prompts, **asked).thoughts, wanted.thoughts, rtol=0, atol=0)


def attention_on_gpu(state: AttentionState, w0: Tensor, **arguments: Any) -> Tensor:
    heads = tuple(Heads(one.keys.cuda(), one.offsets.cuda(), one.values.cuda(), one.activation) for one in state.heads)
    there = AttentionState(heads, *(None if x is None else x.cuda() for x in (state.A, state.c)))
    out = decode_attention(there, w0.cuda(), backend="triton", **arguments)
    assert out.backend == "triton"
    return out.thoughts.cpu()


@pytest.mark.parametrize("dim", [1, 3, 16, 33, 64, 70, 128])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "relu", "gelu", "identity"])
def test_attention_states(activation: str, dim: int) -> None:
    """Tensor cores cut where they add up: each rounding may be twice as large."""
    accuracy = COMPILED._replace(products=lambda terms: 2 * COMPILED.products(terms))
    rules = [GaussianNoise(0.3), BernoulliSampling("sigmoid", 0.2), RankOneNoise(0.05), fitting(SubsetSampling(2), dim)]
    state, w0 = attention_problem(2, dim, activation, 70, heads=2, hidden=5, affine=dim % 2 == 1)
    for rule in rules if dim in (3, 64) else rules[:2]:
        check_attention(attention_on_gpu, state, w0, rule, samples=67, steps=5, accuracy=accuracy)


@pytest.mark.parametrize("dim", [5, 64])
def test_attention_does_not_depend_on_the_chunk(dim: int) -> None:
    state, w0 = attention_problem(3, dim, "softmax", 40)
    one = state.heads[0]
    for rule in (GaussianNoise(0.2), BernoulliSampling(), SubsetSampling(2)):
        arguments: dict[str, Any] = {"rule": rule, "steps": [1, 3, 5], "seed": 3}
        whole = attention_on_gpu(state, w0, samples=700, **arguments)
        part = AttentionState((Heads(one.keys[1:], one.offsets[1:], one.values[1:]),))
        shard = attention_on_gpu(part, w0[1:], samples=34, first_sample=666, first_prompt=1, **arguments)
        assert torch.equal(shard, whole[:, 1:, 666:])
