"""The fused decode in C++: equal to the reference, to itself on every instruction set, and well-behaved."""

from __future__ import annotations

import math
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    LOG_ERROR,
    NORMAL_ERROR,
    check_exponentials,
    check_free_run,
    check_step,
    check_uniforms,
    subsets_are_proved,
)
from ttc_fast import (
    BernoulliSampling,
    GaussianNoise,
    GeometricDecay,
    LargestCoefficients,
    SubsetSampling,
    backends,
    decode,
)
from ttc_fast.decoding import native, reference
from ttc_fast.decoding.authors_rules import LEAST_WEIGHT
from ttc_fast.decoding.rules import Rule
from ttc_fast.estimators import selection as estimators
from ttc_fast.estimators.budgets import powers_of_two
from ttc_fast.evaluation.subsets import Coins, Partitions, groups
from ttc_fast.numerics import candidates, extension, sums
from ttc_fast.tasks.prompts import Prompts
from ttc_fast.techniques.base import Candidates
from ttc_fast.techniques.registry import TECHNIQUES
from ttc_fast.techniques.verifiers import INVERSE_TEMPERATURE

_C = pytest.importorskip("ttc_fast._C", reason="the C++ extension is not built")
ISAS: list[str] = _C.isas()
EVERY_RULE = [*ALL_RULES, *AUTHORS_RULES]


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(extension.ISA_VARIABLE, request.param)
    assert extension.isa() == request.param
    return str(request.param)


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


def subset_step(weights: Tensor, rule: SubsetSampling | LargestCoefficients, t: int = 5) -> Tensor:
    """The next thoughts where u is ``weights [B, N, d]``, each sample's proved against the reference."""
    prompts, samples, dim = weights.shape
    state = torch.zeros(prompts, dim, dim + 1)
    arguments: dict[str, Any] = {"steps": [t + 1], "first_step": t, "samples": samples, "seed": 11}
    got = native_decode(state, weights, rule=rule, **arguments)[0]
    expected = reference.decode(state, weights, rule=rule, **arguments)[0]
    flips = subsets_are_proved(rule, t, weights.double(), got, expected, 0.0, LOG_ERROR, 0.0, arguments)
    assert flips <= 1
    return got


@pytest.mark.parametrize("ones", [1, 2, 7, 8, 9, 10, 31, 63, 64, 65, 150, 299, 300])
def test_any_number_of_ones(isa: str, ones: int) -> None:
    """Short lists of keys, the search of their bits, words of 64 coordinates; k = d takes all."""
    random = torch.Generator().manual_seed(ones)
    for dim in {ones, ones + 1, 300}:
        if dim > 300:
            continue
        weights = torch.rand(2, 35, dim, generator=random) ** 3
        for rule in (SubsetSampling(ones), LargestCoefficients(ones)):
            got = subset_step(weights, rule)
            assert dim > ones or bool((got == 1).all())
        order = weights.clamp(min=LEAST_WEIGHT).sort(dim=2, descending=True, stable=True).indices[..., :ones]
        assert torch.equal(got, torch.zeros_like(weights).scatter_(2, order, 1.0))


@pytest.mark.parametrize("ones", [1, 3, 9, 20])
def test_of_equal_coefficients_the_first_are_taken(isa: str, ones: int) -> None:
    """All equal, all no more than 0, and only some: with keys that tie at the k-th smallest."""
    dim, random = 41, torch.Generator().manual_seed(ones)
    first = (torch.arange(dim) < ones).float()
    for weights in (torch.full((1, 20, dim), 0.3), -torch.rand(1, 20, dim, generator=random), torch.zeros(1, 20, dim)):
        assert torch.equal(subset_step(weights, LargestCoefficients(ones)), first.expand(1, 20, dim))
        subset_step(weights, SubsetSampling(ones))
    few = torch.randint(-1, 3, (2, 60, dim), generator=random) / 2  # ties among -1/2 and 0, 1/2, 1
    got = subset_step(few, LargestCoefficients(ones))
    order = few.clamp(min=0).sort(dim=2, descending=True, stable=True).indices[..., :ones]
    assert torch.equal(got, torch.zeros_like(few).scatter_(2, order, 1.0))


def test_fewer_positive_coefficients_than_ones(isa: str) -> None:
    """The positive ones are taken, then others at random, none more often than another."""
    weights = torch.full((1, 4000, 9), -0.1)
    weights[..., [2, 6]] = 0.4
    for ones in (2, 4, 8):
        got = subset_step(weights, SubsetSampling(ones))
        assert bool((got[..., [2, 6]] == 1).all())
        rest = got[0].mean(0)[[0, 1, 3, 4, 5, 7, 8]]
        p = (ones - 2) / 7
        assert bool(((rest - p).abs() <= 5 * math.sqrt(p * (1 - p) / 4000)).all())


def test_subsets_where_a_sum_overflows(isa: str) -> None:
    """u is infinite with either sign: the largest weight, and the least. Where products of both signs overflow, the
    reference has NaN, a fused multiply-add the first one's sign: a subset all the same."""
    for dim, ones in ((6, 2), (70, 5), (70, 30)):
        state, w0 = torch.zeros(1, dim, dim + 1), torch.zeros(1, dim)
        w0[0, :2] = 1e3
        state[0, 1, :2], state[0, 2, :2] = 3e38, -3e38
        state[0, 3, dim] = -0.2
        state[0, :, 4] = 3e38  # for the steps after the first: sums of columns overflow, too
        state[0, :, 3] = torch.linspace(-1, 1, dim) * 3e38
        for rule in (SubsetSampling(ones), LargestCoefficients(ones)):
            arguments: dict[str, Any] = {"rule": rule, "steps": [1, 2, 3, 9], "samples": 100, "seed": 2}
            got = native_decode(state, w0, **arguments)
            assert torch.equal(got, reference.decode(state, w0, **arguments))
            assert bool((got[0, :, :, 1] == 1).all())
            both = torch.cat((state, state))
            both[0, 0, :2] = torch.tensor([3e38, -3e38])
            got = native_decode(both, w0.expand(2, dim), **arguments)
            assert bool((got.sum(3) == ones).all() & ((got == 0) | (got == 1)).all())


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


def test_a_first_thought_need_not_be_binary(isa: str) -> None:
    """A tile in which one sample's first thought is not takes the product that the others need not: the same bits."""
    for dim, ones in ((50, 5), (130, 12)):
        state, _ = problem(1, dim)
        w0 = torch.randint(0, 2, (1, 60, dim), generator=torch.Generator().manual_seed(dim)).float()
        w0[0, 1], w0[0, 2] = 0.0, 1.0
        mixed = w0.clone()
        mixed[0, ::7, 3] = 0.5
        for rule in (SubsetSampling(ones), LargestCoefficients(ones)):
            arguments: dict[str, Any] = {"rule": rule, "steps": [1, 5], "samples": 60, "seed": 3}
            got, of_bits = native_decode(state, mixed, **arguments), native_decode(state, w0, **arguments)
            same = (mixed == w0).all(2)[0]
            assert torch.equal(got[:, :, same], of_bits[:, :, same])
            assert not torch.equal(got, of_bits)


def test_subsets_without_denormal_numbers(isa: str) -> None:
    """A thread that flushes them to 0 draws the same."""
    state, w0 = problem(2, 40)
    state, w0 = state * 1e-3, w0 * torch.logspace(-44, 37, 40)
    torch.set_num_threads(1)
    for rule in (SubsetSampling(5), SubsetSampling(20), LargestCoefficients(5), LargestCoefficients(20)):
        arguments: dict[str, Any] = {"rule": rule, "steps": [1, 6], "samples": 50, "seed": 3}
        expected = native_decode(state, w0, **arguments)
        if not torch.set_flush_denormal(True):
            pytest.skip("this machine cannot flush denormal numbers")
        try:
            assert torch.equal(native_decode(state, w0, **arguments), expected)
        finally:
            torch.set_flush_denormal(False)


def test_large_dimension(isa: str) -> None:
    state, w0 = problem(1, 512)
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.1), "steps": [2], "samples": 5}
    got = decode(state, w0, backend="native", **arguments).thoughts
    torch.testing.assert_close(got, reference.decode(state, w0, seed=0, **arguments), rtol=0, atol=1e-4)


def test_native_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    state, w0 = problem(1, 3)
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.1), "steps": [2], "samples": 5}
    with pytest.raises(ValueError, match=r"backend: 'native' cannot run: it decodes float32 on cpu, .*float64"):
        decode(state.double(), w0.double(), backend="native", **arguments)
    assert decode(state.double(), w0.double(), **arguments).backend == "reference"
    with pytest.raises(ValueError, match="state: expected finite numbers"):
        decode(state / 0, w0, backend="native", **arguments)
    monkeypatch.setenv(extension.ISA_VARIABLE, "sse9")
    with pytest.raises(ValueError, match=r"TTC_FAST_ISA: expected one of .*'portable', got 'sse9'"):
        decode(state, w0, backend="native", **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": np.zeros((2, 3, 3), np.float32)}, "state: expected shape"),
        ({"w0": np.zeros((2, 4), np.float32)}, "w0: expected shape"),
        ({"thoughts": np.zeros((1, 2, 5, 4), np.float32)}, "thoughts: expected shape"),
        ({"scales": np.zeros(3, np.float32)}, "scales: expected one number, or one for each step"),
        ({"first_step": 5}, "steps: expected none before first_step"),
        ({"rule": "poisson"}, "rule: expected one of gaussian, .*, largest, got poisson"),
        ({"rule": "rank_one", "scales": np.zeros(3, np.float32)}, "scales: expected one number, or one for each step"),
        ({"rule": "subset", "ones": 0}, "ones: expected a number from 1 to d"),
        ({"rule": "largest", "ones": 4}, "ones: expected a number from 1 to d"),
        ({"isa": "sse9"}, "isa: expected one of"),
    ],
)
def test_extension_checks_again(change: dict[str, Any], message: str) -> None:
    arguments = {
        "thoughts": np.zeros((1, 2, 5, 3), np.float32),
        "state": np.zeros((2, 3, 4), np.float32),
        "w0": np.zeros((2, 3), np.float32),
        "scales": np.zeros(1, np.float32),
        "rule": "gaussian", "every_step": True, "temperature": 1.0, "ones": 0, "steps": [4], "seed": 0,
        "first_sample": 0, "first_prompt": 0, "first_step": 0, "threads": 1, "isa": ISAS[0], **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        _C.decode_into(**arguments)
    with pytest.raises(TypeError):  # no silent copy of another dtype: the output would be lost
        _C.decode_into(**{**arguments, "thoughts": np.zeros((1, 2, 5, 3))})


def test_auto_takes_the_native_backend() -> None:
    state, w0 = problem(1, 3)
    assert decode(state, w0, rule=GaussianNoise(0.1), steps=[1], samples=2).backend == "native"
    assert {b.name: b for b in backends()}["native"].available


def work(samples: int = 400) -> Tensor:
    state, w0 = problem(2, 9)
    return decode(state, w0, rule=GaussianNoise(0.2), steps=[20], samples=samples, seed=4, backend="native").thoughts


def threads_alive() -> int:
    return len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else threading.active_count()


def test_no_thread_is_left_behind() -> None:
    torch.set_num_threads(5)
    work()
    before = threads_alive()
    for _ in range(20):
        work()
    deadline = time.monotonic() + 10  # a thread that was joined may stay in the list for a moment
    while threads_alive() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads_alive() <= before


def test_several_python_threads() -> None:
    expected = work()
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(result, expected) for result in pool.map(lambda _: work(), range(40)))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
def test_after_fork() -> None:
    """The child of a process that has decoded on threads decodes on threads; torch's own pool would hang there."""
    torch.set_num_threads(2)
    state, w0 = problem(2, 9)
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.2), "steps": [20], "samples": 400, "backend": "native"}
    expected = decode(state, w0, **arguments).thoughts
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        sender.send_bytes(decode(state, w0, **arguments).thoughts.numpy().tobytes())

    process = context.Process(target=child)
    process.start()
    try:
        assert receiver.poll(30)
        assert receiver.recv_bytes() == expected.numpy().tobytes()
        process.join(30)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("size", ["10**8, steps=[1]", "1, steps=[2**31 - 1]"], ids=["many samples", "one long chain"])
def test_interrupt_within_a_second(size: str) -> None:
    code = (
        "import signal, sys, torch, ttc_fast as t\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # `pytest &` in a script has it ignored
        "state, w0, rule = torch.zeros(1, 8, 9), torch.zeros(1, 8), t.GaussianNoise(0.0)\n"
        "t.decode(state, w0, rule=rule, samples=1, steps=[1], backend='native')\n"
        "print('ready', flush=True)\n"
        "try:\n"
        f"    while True: t.decode(state, w0, rule=rule, samples={size}, backend='native')\n"
        "except KeyboardInterrupt: sys.exit(7)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0], "not ready within a minute"
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.5)  # the extension says nothing once it has begun
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(timeout=60) == 7
        assert time.monotonic() - began < 5  # below 1 s on a quiet machine
    finally:
        process.kill()
        process.communicate()


def bank(prompts: int, samples: int, dim: int, examples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates, and examples that none of them explains."""
    random = torch.Generator().manual_seed(prompts + samples + dim + examples)
    shapes = ((prompts, samples, dim), (prompts, examples, dim), (prompts, examples))
    w, x, y = (torch.randn(shape, generator=random) for shape in shapes)
    return w, x, y


def squared_residuals(w: Tensor, x: Tensor, y: Tensor, factor: float) -> Tensor:
    return candidates.measure(w, examples=(x, y), factor=factor)[0]


def squared_distances(w: Tensor, target: Tensor, weight: Tensor, *, equality: bool = False) -> Tensor:
    return candidates.measure(w, aim=(target, weight), equality=equality)[1]


def packed(w: Tensor) -> Tensor:
    return candidates.measure(w, pack=True)[2]


def test_measures_of_one_pass() -> None:
    w, x, y = bank(3, 50, 7, 9)
    loss, distances, bits = candidates.measure(
        w, examples=(x, y), factor=0.5, aim=(x[:, 0], torch.ones(1, 7)), equality=True, pack=True
    )
    assert torch.equal(bits, packed(w))
    assert torch.equal(bits[:, 0, :, None] >> torch.arange(7) & 1, (w > 0.5).long())
    assert torch.equal(loss, squared_residuals(w, x, y, 0.5))
    assert torch.equal(distances, squared_distances(w, x[:, 0], torch.ones(1, 7), equality=True))


ROUNDING = 2.0**-24


def residual_bound(w: Tensor, rows: Tensor, y: Tensor) -> Tensor:
    """Of the sum of squared residuals: each residual is within its number of roundings, half a unit in the last place
    each, of the sum of magnitudes; and so is the sum of their squares."""
    dim, count = w.shape[2], rows.shape[1]
    residual = (w @ rows.mT - y[:, None]).abs()
    error = (dim + 2) * ROUNDING * (w.abs() @ rows.abs().mT + y.abs()[:, None])
    return (2 * residual * error + error**2).sum(2) + (count + 2) * ROUNDING * (residual + error).square().sum(2)


def triangle(x: Tensor, y: Tensor) -> Tensor:
    """R of [x, y], by Householder's reflections in float64."""
    r: Tensor = torch.linalg.qr(torch.cat((x, y[..., None]), 2), mode="r").R
    return r


@pytest.mark.parametrize(
    ("prompts", "samples", "dim", "examples"),
    [(1, 1, 1, 1), (2, 60, 9, 9), (3, 100, 7, 8), (3, 100, 7, 9), (2, 49, 33, 130), (1, 20, 5, 3)],
)
def test_squared_residuals(isa: str, prompts: int, samples: int, dim: int, examples: int) -> None:
    """Within the roundings of the examples, or of the triangle that stands for them."""
    w, x, y = bank(prompts, samples, dim, examples)
    exact = (w.double() @ x.double().mT - y.double()[:, None]).square().sum(2)
    rows, labels = x.double(), y.double()
    if examples > dim:
        rows, labels = triangle(rows, labels)[..., :-1], triangle(rows, labels)[..., -1]
    bound = residual_bound(w.double(), rows, labels)
    assert ((squared_residuals(w, x, y, -0.5) + 0.5 * exact).abs() <= 0.5 * bound).all()
    assert bound.max() < 1e-4 * exact.max() + 1e-5


def test_squared_residuals_of_dependent_examples(isa: str) -> None:
    """A coefficient without data, one twice, and labels that w explains: no pivot is left but noise."""
    w, x, _ = bank(2, 30, 6, 40)
    x[:, :, 2] = 0.0
    x[:, :, 4] = x[:, :, 1]
    y = (x.double() * w[:, :1].double()).sum(2).float()  # rounded: so the residual is not quite 0
    exact = (w.double() @ x.double().mT - y.double()[:, None]).square().sum(2)
    got = squared_residuals(w, x, y, 1.0)
    # As above, with the sum of squares of the columns for the triangle's; and what the pivots left out could tell.
    columns = x.double().square().sum(1).sqrt()
    size = (w.double().abs() * columns[:, None]).sum(2) + y.double().square().sum(1).sqrt()[:, None]
    error = (7 * 9 * ROUNDING + (46 * 2.0**-52) ** 0.5) * size
    assert ((got - exact).abs() <= 2 * exact.sqrt() * error + error**2).all()
    assert got[:, 0].max() < 1e-10 * got.max()
    x[0, 0, 0] = math.nan
    x[1, 0, 0] = math.inf
    assert not squared_residuals(w, x, y, 1.0).isfinite().any()


@pytest.mark.parametrize(("prompts", "samples", "dim"), [(1, 1, 1), (3, 100, 7), (2, 49, 33)])
def test_squared_distances(isa: str, prompts: int, samples: int, dim: int) -> None:
    """Within the number of roundings, half a unit in the last place each."""
    w, x, _ = bank(prompts, samples, dim, 1)
    w[:, -1] = x[:, 0]
    weight = torch.stack((torch.ones(dim), torch.arange(dim) / 3))
    *got, equal = squared_distances(w, x[:, 0], weight, equality=True)
    exact = ((w.double() - x[:, 0, None].double()).square() * weight.double()[:, None, None]).sum(3)
    assert ((torch.stack(got) - exact).abs() <= (dim + 4) * ROUNDING * exact).all()
    assert torch.equal(equal, (exact[0] == 0).float())


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 128, 1000, 4097])
def test_tree_sum(length: int) -> None:
    random = torch.Generator().manual_seed(length)
    for shape in ((3, length), (2, length, 1), (2, length, 5)):
        x = torch.randn(shape, generator=random)
        assert torch.equal(candidates.tree_sum(x), sums.tree_sum(x, 1))


def test_sums_over_candidates_do_not_depend_on_the_chunk(isa: str) -> None:
    """To the bit: batch, place in a tile, number of samples, threads."""
    w, x, y = bank(3, 7000, 5, 6)
    weight = torch.ones(1, 5)
    torch.set_num_threads(2)
    residuals, distances = squared_residuals(w, x, y, 1.0), squared_distances(w, x[:, 0], weight)
    for threads, part, samples in ((1, 1, 7000), (3, 3, 10), (2, 2, 4099)):
        torch.set_num_threads(threads)
        few = w[:part, 7000 - samples :]
        got = squared_residuals(few, x[:part], y[:part], 1.0)
        assert torch.equal(got, residuals[:part, 7000 - samples :])
        got = squared_distances(few, x[:part, 0], weight)
        assert torch.equal(got, distances[:, :part, 7000 - samples :])


def test_instruction_sets_sum_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    w, x, y = bank(2, 60, 9, 21)
    results = []
    for name in [name for name in ISAS if name != "portable"]:
        monkeypatch.setenv(extension.ISA_VARIABLE, name)
        results.append((squared_residuals(w, x, y, 1.0), squared_distances(w, x[:, 0], torch.ones(1, 9))))
    assert all(torch.equal(a, b) for result in results for a, b in zip(result, results[0]))


@pytest.mark.parametrize("samples", [1, 2, 7, 300])
def test_best_of_k(samples: int) -> None:
    """Against the estimator in NumPy, with ties, both zeros and an infinite score."""
    random = torch.Generator().manual_seed(samples)
    score = torch.randint(-20, 20, (3, samples), generator=random) * 0.3 * torch.tensor([[1.0], [1e-30], [0.0]])
    score[0, 0], score[1, -1] = -math.inf, math.inf
    score[2, samples // 2 :] = -0.0
    value = torch.randn(2, 3, samples, generator=random)
    budgets = list(range(1, samples + 1))[:20]
    weight = torch.zeros(samples, 24, dtype=torch.float64)
    for column, k in enumerate(budgets):
        of_ranks = estimators.selection_weights(samples, [k])[0]
        weight[: len(of_ranks), column] = torch.from_numpy(of_ranks)
    for sign, lowest in ((1, False), (-1, True)):
        got = candidates.best_of_k(sign * score, list(value), weight, lowest=lowest)[..., : len(budgets)]
        for one, kind in zip(got, value):
            np.testing.assert_allclose(one, estimators.best_of_k(score, kind, budgets), rtol=0, atol=1e-13)


@pytest.mark.parametrize("spacing", [1.0, 2.0**-23, 0.0])
def test_best_of_k_ranks_whatever_the_scores(spacing: float) -> None:
    """Scores far from each other; a crowd with one far away, which the sort's first passes leave as it is; ties."""
    random = torch.Generator().manual_seed(7)
    score = 1 + torch.randperm(3000, generator=random)[None] * spacing
    score[0, 5] = -1e30
    ranks = candidates.best_of_k(score, [torch.arange(3000.0)[None]], torch.eye(3000, dtype=torch.float64))
    order = torch.sort(score[0], descending=True, stable=True).indices.double()
    if spacing == 0:  # all but one share their mean
        order[:-1] = order[:-1].mean()
    assert torch.equal(ranks[0, 0], order)


def test_best_of_k_takes_what_has_no_score_last() -> None:
    score = torch.tensor([[1.0, math.nan, -math.inf, 3.0]])
    for lowest, expected in ((False, [40.0, 10.0, 30.0, 20.0]), (True, [30.0, 10.0, 40.0, 20.0])):
        ranks = candidates.best_of_k(
            score, [torch.tensor([[10.0, 20.0, 30.0, 40.0]])], torch.eye(4, 8, dtype=torch.float64), lowest=lowest
        )
        assert ranks[0, 0, :4].tolist() == expected


@pytest.mark.parametrize("dim", [1, 5, 40, 64, 130])
@pytest.mark.parametrize("block", [1, 2, 4, 6])
def test_vote_recovery(dim: int, block: int) -> None:
    """Against votes counted in PyTorch, for sizes that divide each other and others, in any order."""
    random = torch.Generator().manual_seed(dim)
    right = 1 - 1.2 / dim if dim > 5 else 0.7
    w_star = torch.randint(0, 2, (3, dim), generator=random).float()
    w = torch.where(torch.rand(3, 50, dim, generator=random) < right, w_star[:, None], 1 - w_star[:, None])
    sample = torch.arange(50)
    shuffles = torch.stack([torch.randperm(50 // block, generator=random) for _ in range(2)])
    whole = sample[: 50 // block * block].unflatten(0, (-1, block))
    orders = torch.stack([sample, *(torch.cat((whole[o].flatten(), sample[whole.numel() :])) for o in shuffles)])
    groups = [(1, 1), (2, 1), (6, 1), (4 * block, 3), (3 * block, 2), (25, 1), (50, 1)]
    got, counts = candidates.vote_recovery(packed(w), w_star, block, shuffles, groups)
    assert torch.equal(counts, (w == w_star[:, None]).sum(1))
    for (size, asked), column in zip(groups, got.T):
        votes = w[:, orders[:asked]][:, :, : 50 // size * size].unflatten(2, (-1, size)).double().mean(3)
        agree = torch.where(votes == 0.5, 0.5, ((votes > 0.5) == w_star[:, None, None]).double())
        expected = agree.prod(3).mean((1, 2))
        assert size > 2 or 0 < expected.mean() < 1
        torch.testing.assert_close(column, expected, rtol=0, atol=1e-14)


IN_CPP = [name for name, technique in TECHNIQUES.items() if technique.native is not None]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", IN_CPP)
@pytest.mark.parametrize(("dim", "samples"), [(1, 64), (6, 300), (33, 1000), (70, 256)])
def test_group_answers(name: str, isa: str, dim: int, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers of the technique in PyTorch, group by group, with the same coins. Scores of a tenth are equal, those
    of a fifth so low that their weights beside the others' vanish.

    PyTorch rounds the exponents, which are below 2^8, to float32 twice, so that weights exp(beta score) differ by 2^-16
    in relative terms, and means of numbers up to 1 by twice as much. Sums of weights as near as that to each other may
    be told apart or not.
    """
    monkeypatch.setenv("TTC_FAST_ISA", isa)
    random = torch.Generator().manual_seed(dim)
    few = torch.rand(3, 8, dim, generator=random).round()
    w = few[:, torch.randint(0, 8, (samples,), generator=random)]
    w = torch.where(torch.rand(w.shape, generator=random) < 1 / (4 * dim), 1 - w, w)
    score = -4 * torch.rand(3, samples, generator=random)
    score = torch.where(torch.rand(score.shape, generator=random) < 0.1, 0.0, score)
    score[:, : samples // 5] -= 16
    part = Prompts(torch.ones(3, 1, dim), torch.ones(3, 1), w[:, 0], first=5)
    partitions, technique, sizes = Partitions(samples, seed=9), TECHNIQUES[name], powers_of_two(samples)
    assert technique.native is not None
    ((_, block, orders, counts),) = partitions.by_block(sizes)
    answers = candidates.group_answers(*technique.native, w, score, block, orders, counts, seed=9, first_prompt=5, step=6)
    for (size, count), number in zip(counts, partitions.group_counts(sizes)):
        got, answers = answers[:, :number], answers[:, number:]
        of_group = torch.cat([groups(partitions.order(p, size)[None], size)[0] for p in range(count)])
        given = Candidates(w[:, of_group], score[:, of_group], None, w[:, 0], Coins(part, of_group[:, 0], 6, 9))
        expected = technique(given)
        if name == "softmax_mean":
            torch.testing.assert_close(got, expected, rtol=0, atol=2**-15)
        elif not torch.equal(got, expected):
            _check_near_tie(given, got, expected)
    assert answers.shape[1] == 0


def _check_near_tie(given: Candidates, got: Tensor, expected: Tensor) -> None:
    """Where two answers differ, the weights that speak for either are the same within 2^-15."""
    for prompt, g in (got != expected).any(2).nonzero().tolist():
        members, one, other = given.coefficients[prompt, g], got[prompt, g], expected[prompt, g]
        weight = (INVERSE_TEMPERATURE * given.score[prompt, g].double()).softmax(0)
        whole = weight[(members == one).all(1)].sum() - weight[(members == other).all(1)].sum()
        single = (members.double() * weight[:, None]).sum(0)[one != other] - 0.5
        assert abs(whole) < 2**-15 or single.abs().max() < 2**-15


def test_what_the_extension_says_of_wrong_candidates() -> None:
    w, x, y = bank(2, 4, 3, 5)
    orders, weight = torch.arange(4)[None], torch.ones(4, 8, dtype=torch.float64)

    def answers(technique: str, score: Tensor) -> Tensor:
        return candidates.group_answers(technique, 1.0, w, score, 1, orders, [(1, 1)], seed=0, first_prompt=0, step=1)

    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: squared_residuals(w, x[:1], y, 1.0), "x: expected shape"),
        (lambda: squared_residuals(w, x, y[:, :2], 1.0), "y: expected shape"),
        (lambda: squared_distances(w, x[:, 0, :2], torch.ones(1, 3)), "target: expected shape"),
        (lambda: squared_distances(w, x[:, 0], torch.ones(1, 2)), "weight: expected shape"),
        (lambda: candidates.tree_sum(w[:, 0, 0]), "x: expected shape"),
        (lambda: candidates.best_of_k(w[:, :, 0], [w[:, :3, 0]], weight), "values: expected arrays of shape"),
        (lambda: candidates.best_of_k(w[:, :, 0], [w[:, :, 0]], weight[:, :7]), "weight: expected shape"),
        (lambda: candidates.vote_recovery(packed(w), x[:, 0], 1, orders + 1, [(1, 1)]), "orders: expected blocks"),
        (lambda: candidates.vote_recovery(packed(w), x[:, 0], 2, orders, [(1, 1)]), "orders: expected shape"),
        (lambda: candidates.vote_recovery(packed(w), x[:, 0], 1, orders, [(5, 1)]), "groups: expected sizes"),
        (lambda: candidates.vote_recovery(packed(w), x[:, 0], 1, orders, [(1, 3)]), "groups: expected 1 to P"),
        (
            lambda: candidates.vote_recovery(packed(w), x[:, 0], 2, orders[:, :2], [(3, 2)]),
            "groups: expected whole blocks",
        ),
        (lambda: candidates.vote_recovery(packed(w), x[:, 0], 5, orders, [(1, 1)]), "block: expected a size"),
        (
            lambda: candidates.vote_recovery(packed(w), x[:, :1, 0].repeat(1, 65), 1, orders, [(1, 1)]),
            "w_star: expected shape",
        ),
        (lambda: answers("mode", w[:, :, 0]), "technique: expected the name"),
        (lambda: answers("plurality", w[:, :3, 0]), "score: expected shape"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
