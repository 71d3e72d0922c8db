"""Small evaluations, and when two of them are equal."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ttc_fast import (
    LinearAttention,
    StochasticDecoder,
    Table,
)
from ttc_fast.decoding.rules import Rule
from ttc_fast.estimators.budgets import powers_of_two
from ttc_fast.evaluation.constants import weights_of_ranks
from ttc_fast.evaluation.subsets import Partitions
from ttc_fast.numerics import candidates


def decoder(rule: Rule, dim: int = 3, examples: int = 8) -> StochasticDecoder:
    return StochasticDecoder(LinearAttention.gradient_descent(dim, examples=examples), rule)


def assert_equal(got: Table, expected: Table) -> None:
    """To the bit, work included."""
    assert got.keys == expected.keys
    assert got.about == expected.about
    for name in ("prompts", "values", "thoughts", "scores"):
        assert np.array_equal(getattr(got, name), getattr(expected, name)), name


def candidates_problem(dim: int, examples: int, samples: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Binary candidates ``[2, N, d]`` of which every fourth is right, w_star, x, and y without noise: the last pivot of
    the factor is rounding alone."""
    random = torch.Generator().manual_seed(dim)
    w_star = torch.randint(2, (2, dim), generator=random).float()
    w = torch.randint(2, (2, samples, dim), generator=random).float()
    w[:, ::4] = w_star[:, None]
    x = torch.randn(2, examples, dim, generator=random)
    return w, w_star, x, (x @ w_star[:, :, None])[:, :, 0]


def assert_kernels_equal(found: list[Any], wanted: list[Any], x: Tensor) -> None:
    """Numbers to the roundings of sums of as many products as there are examples and coefficients, 2^-24 each, of terms
    as large as the examples' squares; bits and counts to the bit."""
    _, examples, dim = x.shape
    scale = float(x.abs().sum((1, 2)).max()) ** 2 / examples
    rounding = (examples + dim) * 2.0**-24
    for one, other in zip(found, wanted):
        if one.dtype.is_floating_point:
            torch.testing.assert_close(one, other, rtol=2 * rounding, atol=rounding * scale * 1e-2)
        else:
            assert torch.equal(one, other)


def kernels(w: Tensor, w_star: Tensor, x: Tensor, y: Tensor, engine: Any = None) -> list[Any]:
    """All that the kernels of aggregate.py (``engine``; interpreted; on a GPU) or C++ say of candidates."""
    from ttc_fast.kernels import interpreted

    if engine is None:
        engine = importlib.import_module("ttc_fast.kernels.aggregate") if interpreted() or w.is_cuda else candidates
    _, samples, dim = w.shape
    weight = torch.stack((torch.full((dim,), 1 / dim), torch.arange(dim) / dim)).to(w)
    found = engine.measure(w, examples=(x, y), factor=0.5, aim=(w_star, weight), equality=True, pack=True)
    sizes = powers_of_two(samples)
    best = [
        engine.best_of_k(
            found[0].round(),
            [found[0], found[1][0]],
            weights_of_ranks(samples, tuple(sizes)).to(w.device),
            lowest=lowest,
        )
        for lowest in (False, True)
    ]
    votes = [engine.vote_recovery(found[2], w_star, *job[1:]) for job in Partitions(samples, 3).by_block(tuple(sizes))]
    return [
        *found,
        engine.tree_sum(w * w[:, :1]),
        engine.tree_sum(found[0]),
        *best,
        *(part for v in votes for part in v),
    ]
