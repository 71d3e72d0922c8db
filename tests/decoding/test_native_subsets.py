"""Thoughts with a fixed number of ones in C++: proved against the reference, ties and overflows too."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from decoding_problems import problem
from equivalence import (
    LOG_ERROR,
    subsets_are_proved,
)
from ttc_fast import (
    LargestCoefficients,
    SubsetSampling,
    decode,
)
from ttc_fast.decoding import reference
from ttc_fast.decoding.authors_rules import LEAST_WEIGHT

_C = pytest.importorskip("ttc_fast._C", reason="the C++ extension is not built")


def native_decode(state: Tensor, w0: Tensor, **arguments: Any) -> Tensor:
    return decode(state, w0, backend="native", **arguments).thoughts


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
