"""The fused decode in C++: equal to the reference, and to itself on every instruction set."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from decoding_problems import AUTHORS_RULES, fitting, problem
from equivalence import (
    ALL_RULES,
    NORMAL_ERROR,
    check_exponentials,
    check_free_run,
    check_step,
    check_uniforms,
)
from ttc_fast import (
    BernoulliSampling,
    GaussianNoise,
    GeometricDecay,
    backends,
    decode,
)
from ttc_fast.decoding import native, reference
from ttc_fast.decoding.rules import Rule
from ttc_fast.numerics import extension

_C = pytest.importorskip("ttc_fast._C", reason="the C++ extension is not built")
ISAS = extension.isas()
EVERY_RULE = [*ALL_RULES, *AUTHORS_RULES]


def ulps(got: Tensor, exact: Tensor) -> float:
    """Largest error in units in the last place of float32."""
    return ((got.double() - exact).abs() / torch.tensor(np.spacing(exact.abs().float().numpy()))).max().item()


def words_to_try(spacing: int) -> Iterator[np.ndarray[Any, np.dtype[np.uint32]]]:
    """Words at ``spacing`` over all 2^32, in parts, and all near the corners of octants and at both ends."""
    corners = (np.arange(9)[:, None] * 2**29 + np.arange(-1000, 1000)).ravel() % 2**32
    yield corners[:17920].astype(np.uint32)
    for start in range(spacing // 3, 2**32, spacing << 18):
        yield (start + spacing * np.arange(2**18, dtype=np.int64)).clip(max=2**32 - 1).astype(np.uint32)


@pytest.mark.parametrize("spacing", [2**12 + 1, pytest.param(2**4 + 1, marks=pytest.mark.slow)])
def test_elementary_functions_are_within_4_ulp(isa: str, spacing: int) -> None:
    """Against float64, over the whole range of words and of exponents."""
    for words in words_to_try(spacing):
        u = torch.from_numpy(((words.astype(np.float32) + np.float32(0.5)) * np.float32(2**-32)).astype(np.float64))
        assert ulps(torch.from_numpy(_C.log_of_words(words, isa)), -2 * u.log()) <= 4
        sine, cosine = _C.sincos_of_words(words, isa)
        turn = torch.from_numpy(words.astype(np.int64))
        # Reduced exactly to an eighth of a turn, so that float64 is right near the zeros.
        quadrant, rest = (turn + 2**29) // 2**30 % 4, (turn + 2**29) % 2**30 - 2**29
        angle = rest.double() * (2 * math.pi / 2**32)
        exact = torch.stack((angle.sin(), angle.cos(), -angle.sin(), -angle.cos()))
        assert ulps(torch.from_numpy(sine), exact.gather(0, quadrant[None])[0]) <= 4
        assert ulps(torch.from_numpy(cosine), exact.gather(0, (quadrant[None] + 1) % 4)[0]) <= 4
    for t in np.linspace(-126, 127, 2**30 // spacing // 64 * 64, dtype=np.float32).reshape(4, -1):
        assert ulps(torch.from_numpy(_C.exp2(t, isa)), torch.from_numpy(t).double().exp2()) <= 4


def test_power_of_two_at_its_ends(isa: str) -> None:
    t = np.array([-np.inf, -1e30, -126, 127, 1e30, np.inf, np.nan, 0] * 2, dtype=np.float32)
    got = _C.exp2(t, isa)[:8]
    assert got[0] == got[1] == got[2] == 2.0**-126
    assert got[3] == got[4] == got[5] == 2.0**127
    assert np.isnan(got[6])
    assert got[7] == 1


def test_normals(isa: str) -> None:
    """With a state of zero each step adds its normals to w: those of the reference, element by element."""
    state, w0 = torch.zeros(2, 5, 6), torch.zeros(2, 5)
    arguments: dict[str, Any] = {"rule": GaussianNoise(1.0), "steps": [1], "samples": 3000, "seed": 2**64 - 1}
    for first_step in range(6):
        steps = {**arguments, "steps": [first_step + 1], "first_step": first_step, "first_prompt": 2**32 - 2}
        got = decode(state, w0, backend="native", **steps).thoughts
        assert (got - decode(state, w0, backend="reference", **steps).thoughts).abs().max() < NORMAL_ERROR
        assert got.std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("samples", "dim"), [(1, 1), (33, 5), (70, 16), (3, 130)])
def test_normals_of_a_step_are_those_of_the_decode(isa: str, samples: int, dim: int) -> None:
    """What Gaussian noise adds to the thought 0, to the bit; those of the reference within NORMAL_ERROR."""
    state, w0 = torch.zeros(2, dim, dim + 1), torch.zeros(2, dim)
    where: dict[str, Any] = {"seed": 2**64 - 1, "first_sample": 2**32 - samples, "first_prompt": 2**32 - 2}
    for step in (0, 1, 2, 3, 6, 2**33):
        drawn: dict[str, Tensor] = {}
        for name, backend in (("native", native), ("reference", reference)):
            drawn[name] = backend.normals(2, samples, dim, step=step, like=state, **where)
            arguments: dict[str, Any] = {"rule": GaussianNoise(1.0), "steps": [step + 1], "first_step": step, **where}
            added = decode(state, w0, samples=samples, backend=name, **arguments).thoughts[0]
            assert torch.equal(drawn[name], added)
        assert (drawn["native"] - drawn["reference"]).abs().max() <= NORMAL_ERROR


@pytest.mark.parametrize("rule", EVERY_RULE)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_thoughts_are_written_where_asked(isa: str, backend: str, rule: Rule) -> None:
    """Into a part of a larger tensor, rows beside which belong to others: the same bits, and nothing else."""
    state, w0 = problem(3, 7)
    arguments: dict[str, Any] = {"rule": fitting(rule, 7), "steps": [0, 2, 5], "seed": 3, "backend": backend}
    for samples, start in ((1, 0), (40, 3), (67, 5)):
        larger = torch.full((4, 5, 75, 7), -7.0)
        out = larger[1:, 1:4, start : start + samples]
        got = decode(state, w0, samples=samples, out=out, **arguments).thoughts
        assert got.data_ptr() == out.data_ptr()
        assert torch.equal(out, decode(state, w0, samples=samples, **arguments).thoughts)
        out.fill_(-7.0)
        assert bool((larger == -7.0).all())


def native_decode(state: Tensor, w0: Tensor, **arguments: Any) -> Tensor:
    return decode(state, w0, backend="native", **arguments).thoughts


def test_uniforms_are_equal_to_the_bit(isa: str) -> None:
    check_uniforms(native_decode)


def test_exponentials_are_of_equal_words(isa: str) -> None:
    check_exponentials(native_decode)


@pytest.mark.parametrize("rule", EVERY_RULE)
@pytest.mark.parametrize("dim", [1, 2, 3, 8, 16, 31, 64, 130])
def test_teacher_forced_step(isa: str, rule: Rule, dim: int) -> None:
    check_step(native_decode, rule, dim)


@pytest.mark.parametrize("rule", EVERY_RULE)
@pytest.mark.parametrize(("dim", "samples", "steps"), [(1, 1, 9), (3, 7, 4), (16, 65, 33), (31, 33, 12), (70, 20, 6)])
def test_free_run(isa: str, rule: Rule, dim: int, samples: int, steps: int) -> None:
    check_free_run(native_decode, rule, dim, samples, steps)


def test_instruction_sets_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that have a fused multiply-add, whatever the width of their vectors."""
    for rule in EVERY_RULE:
        for dim in (1, 5, 16, 33, 70):
            state, w0 = problem(2, dim)
            results = []
            for name in [name for name in ISAS if name != "portable"]:
                monkeypatch.setenv(extension.ISA_VARIABLE, name)
                arguments: dict[str, Any] = {"steps": [1, 9], "samples": 70, "backend": "native"}
                results.append(decode(state, w0, rule=fitting(rule, dim), seed=1, **arguments).thoughts)
            assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_bits_do_not_depend_on_the_chunk(isa: str, rule: Rule) -> None:
    """Promise 2: batch, shard, number of samples, threads, and the other asked steps."""
    state, w0 = problem(5, 7)
    arguments: dict[str, Any] = {"rule": fitting(rule, 7), "steps": [1, 4, 9], "seed": 3, "backend": "native"}
    torch.set_num_threads(2)
    whole = decode(state, w0, samples=515, **arguments).thoughts
    assert not whole.isnan().any()
    for threads, b, n in ((1, 1, 1), (3, 5, 10), (7, 3, 515), (1, 2, 63)):
        torch.set_num_threads(threads)
        assert torch.equal(decode(state[:b], w0[:b], samples=n, **arguments).thoughts, whole[:, :b, :n])
    shard = decode(state[2:], w0[2:], samples=96, first_sample=419, first_prompt=2, **arguments).thoughts
    assert torch.equal(shard, whole[:, 2:, 419:])
    other_steps = decode(state, w0, samples=5, **{**arguments, "steps": [9, 3, 1, 1]}).thoughts
    assert torch.equal(other_steps[[3, 0]], whole[[0, 2], :, :5])
    per_sample = decode(state, w0[:, None].repeat(1, 515, 1), samples=515, **arguments).thoughts
    assert torch.equal(per_sample, whole)


@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_a_chain_can_be_resumed(isa: str, cut: int) -> None:
    state, w0 = problem(3, 4)
    for rule in (GaussianNoise(GeometricDecay(0.3, 0.9)), BernoulliSampling(), *(fitting(r, 4) for r in AUTHORS_RULES)):
        arguments: dict[str, Any] = {"rule": rule, "steps": [cut, 7], "samples": 9, "seed": 1, "backend": "native"}
        whole = decode(state, w0, **arguments).thoughts
        assert torch.equal(decode(state, whole[0], first_step=cut, **arguments).thoughts, whole)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_input_gives_the_answer_of_the_reference(data: st.DataObject) -> None:
    """Shapes, strides, offsets in memory, empty lists: no crash, no unwritten output (memory holds NaN)."""
    draw = data.draw
    dim, prompts = draw(st.integers(1, 40)), draw(st.integers(0, 4))
    samples, steps = draw(st.integers(0, 70)), draw(st.lists(st.integers(0, 12), max_size=4))
    rule = fitting(draw(st.sampled_from(ALL_RULES[:1] + ALL_RULES[4:6] + AUTHORS_RULES[::2])), dim)
    state, w0 = problem(max(prompts, 1), dim)
    state, w0 = state[:prompts], w0[:prompts]
    layout = draw(st.sampled_from(["plain", "transposed", "misaligned", "every other"]))
    if layout == "transposed":
        state, w0 = state.transpose(0, 2).contiguous().transpose(0, 2), w0.T.contiguous().T
    elif layout == "misaligned":
        state = torch.cat((torch.zeros(1), state.flatten()))[1:].view(state.shape)
    elif layout == "every other":
        state, w0 = state.repeat_interleave(2, 1)[:, ::2], w0.repeat_interleave(2, 0)[::2]
    arguments: dict[str, Any] = {
        "rule": rule,
        "steps": steps,
        "samples": samples,
        "seed": draw(st.integers(0, 2**64 - 1)),
    }
    got = decode(state, w0, backend="native", **arguments).thoughts
    assert got.shape == (len(steps), prompts, samples, dim)
    torch.testing.assert_close(got, reference.decode(state, w0, **arguments), rtol=0, atol=1e-3)


@pytest.mark.parametrize("rule", AUTHORS_RULES[:4])
def test_noise_where_a_product_overflows(isa: str, rule: Rule) -> None:
    state, w0 = problem(2, 9)
    got = native_decode(state * 1e38, w0 * 1e3, rule=rule, steps=[1, 2, 7], samples=50)
    assert not got[2].isfinite().any()
    apart = state.clone()
    apart[0] *= 1e38
    assert torch.equal(
        native_decode(apart, w0, rule=rule, steps=[7], samples=50)[:, 1],
        native_decode(state, w0, rule=rule, steps=[7], samples=50)[:, 1],
    )


def test_large_dimension(isa: str) -> None:
    state, w0 = problem(1, 512)
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.1), "steps": [2], "samples": 5}
    got = decode(state, w0, backend="native", **arguments).thoughts
    torch.testing.assert_close(got, reference.decode(state, w0, seed=0, **arguments), rtol=0, atol=1e-4)


def test_auto_takes_the_native_backend() -> None:
    state, w0 = problem(1, 3)
    assert decode(state, w0, rule=GaussianNoise(0.1), steps=[1], samples=2).backend == "native"
    assert {b.name: b for b in backends()}["native"].available
