"""The evidence of the attention kernel: interpreted, compiled for GPUs that are not there, and its machine code
executed by the simulator. No GPU is needed."""

from __future__ import annotations

import importlib.util
import re
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from attention_equivalence import COMPILED, Accuracy, attention_problem, check_attention
from decoding_problems import AUTHORS_RULES, RULES, fitting
from equivalence import EPS, Decode
from ttc_fast import AttentionState, BernoulliSampling, GaussianNoise, Heads, RankOneNoise, SubsetSampling
from ttc_fast.decoding.attention_decode import attention_backend, decode_attention
from ttc_fast.decoding.rules import Rule

# Not importorskip: the interpreter's process imports this file before it chooses the interpreter.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
slow = pytest.mark.slow

INTERPRETED = Accuracy(products=lambda terms: 6 * (terms + 20) * EPS)
"""Six products, each summed from first to last over padded coefficients or keys, of which up to 16 are added."""
SHAPES: list[dict[str, Any]] = [
    {"dim": 1, "keys": 1}, {"dim": 3, "keys": 7, "heads": 2, "hidden": 5, "affine": True},
    {"dim": 33, "keys": 70, "heads": 2, "affine": True}, {"dim": 70, "keys": 40},
]  # fmt: skip


def in_triton(state: AttentionState, w0: Tensor, **arguments: Any) -> Tensor:
    out = decode_attention(state, w0, backend="triton", **arguments)
    if out.backend != "triton":
        raise ValueError(out.backend)
    return out.thoughts


@pytest.fixture
def interpreted(interpreter: ProcessPoolExecutor) -> Decode:
    return lambda *tensors, **arguments: interpreter.submit(in_triton, *tensors, **arguments).result()


@pytest.mark.parametrize(
    ("activation", "rule", "shape"),
    [("softmax", GaussianNoise(0.3), SHAPES[1]), ("sigmoid", BernoulliSampling("sigmoid", 0.2), SHAPES[1])]
    + [
        pytest.param(activation, GaussianNoise(0.3), shape, marks=slow)
        for activation in ("softmax", "sigmoid", "relu", "gelu", "identity")
        for shape in SHAPES
    ]
    + [pytest.param("softmax", rule, SHAPES[1], marks=slow) for rule in [*RULES[1:], *AUTHORS_RULES]],
)
def test_interpreted(interpreted: Decode, activation: str, rule: Rule, shape: dict[str, Any]) -> None:
    state, w0 = attention_problem(2, activation=activation, **shape)
    check_attention(interpreted, state, w0, rule, samples=19, steps=3, accuracy=INTERPRETED)


@pytest.mark.parametrize("rule", [GaussianNoise(0.2), *(pytest.param(rule, marks=slow) for rule in
                                  (BernoulliSampling(), RankOneNoise(0.05), SubsetSampling(2)))])  # fmt: skip
def test_bits_do_not_depend_on_the_chunk(interpreted: Decode, rule: Rule) -> None:
    """Promise 2: batch, shard, number of samples, the other asked steps, and where a chain is resumed."""
    state, w0 = attention_problem(3, 5, "softmax", 40)
    one = state.heads[0]
    arguments: dict[str, Any] = {"rule": rule, "steps": [1, 3, 5], "seed": 3}
    whole = interpreted(state, w0, samples=70, **arguments)
    part = AttentionState((Heads(one.keys[1:], one.offsets[1:], one.values[1:]),))
    shard = interpreted(part, w0[1:], samples=4, first_sample=66, first_prompt=1, **arguments)
    assert torch.equal(shard, whole[:, 1:, 66:])
    other = interpreted(state, w0, samples=3, **{**arguments, "steps": [5, 2, 1]})
    assert torch.equal(other[[2, 0]], whole[[0, 2], :, :3])
    resumed = interpreted(state, whole[1], samples=70, first_step=3, **{**arguments, "steps": [5]})
    assert torch.equal(resumed, whole[2:])


def test_masked_keys(interpreted: Decode) -> None:
    """An offset of -infinity takes a key out, wherever it stands."""
    state, w0 = attention_problem(1, 5, "softmax", 70)
    one = state.heads[0]
    masked = torch.arange(70) % 3 == 0
    masked[:33] = True
    offsets = torch.where(masked, -torch.inf, one.offsets)
    left = Heads(one.keys[:, :, ~masked], one.offsets[:, :, ~masked], one.values[:, :, ~masked])
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.1), "steps": [2], "samples": 5}
    got = interpreted(AttentionState((Heads(one.keys, offsets, one.values),)), w0, **arguments)
    expected = decode_attention(AttentionState((left,)), w0, backend="reference", **arguments).thoughts
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-5)


def refused() -> list[str]:
    said = []
    one, w0 = attention_problem(1, 3, "relu", 4)
    wide = attention_problem(1, 129, "relu", 4)
    for state, first in ((AttentionState(one.heads * 4), w0), wide):
        try:
            attention_backend(state, first, "triton")
        except ValueError as error:
            said.append(str(error))
    return said


def test_what_the_kernel_refuses(interpreter: ProcessPoolExecutor) -> None:
    groups, dim = interpreter.submit(refused).result()
    assert "it decodes up to 3 groups of heads, a matrix A among them, the state has 4; or use backend='auto'" in groups
    assert "it decodes attention states of up to 128 coefficients, the state has 129" in dim


@slow
@pytest.mark.parametrize(
    ("arch", "activation", "rule", "shape"),
    [
        ("sm_80", "softmax", GaussianNoise(0.3), SHAPES[2]),
        ("sm_80", "sigmoid", BernoulliSampling("sigmoid", 0.2), SHAPES[1]),
        ("sm_80", "gelu", fitting(SubsetSampling(2), 3), SHAPES[1]),
        ("sm_90", "softmax", RankOneNoise(0.05), SHAPES[1]),
        ("sm_100", "relu", GaussianNoise(0.3), SHAPES[0]),
        ("sm_120", "softmax", BernoulliSampling("clip"), SHAPES[1]),
    ],
)
def test_machine_code_equals_the_reference(arch: str, activation: str, rule: Rule, shape: dict[str, Any]) -> None:
    """No race, no conflict either."""
    from ttc_fast.kernels import attention_decode

    from gpusim import Gpu

    class AttentionGpu(Gpu):
        def chosen_tile(self, dim: int, kind: str) -> Any:
            return attention_decode.TILES[attention_decode.padded(dim)]

    gpu = AttentionGpu(arch, module=attention_decode)
    state, w0 = attention_problem(2, activation=activation, **shape)
    check_attention(gpu, state, w0, rule, samples=19, steps=5, accuracy=COMPILED)
    assert gpu.races == gpu.conflicts == 0


@slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100", "sm_120"])
@pytest.mark.parametrize("dim", [16, 32, 64, 128])
def test_shipped_table(arch: str, dim: int) -> None:
    """One head of softmax fits into shared memory, multiplies on tensor cores and spills nothing."""
    from ttc_fast.kernels import compiled

    code = compiled.compile_attention(arch, "gaussian", dim)
    assert code.shared_bytes <= compiled.SHARED_MEMORY[arch]
    assert code.spill_bytes == code.stack_bytes == 0
    assert re.search(r"\bHMMA\b", code.assembly)
