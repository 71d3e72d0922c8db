"""Small evaluations, and when two of them are equal."""

from __future__ import annotations

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


def kernels(w: Tensor, w_star: Tensor, x: Tensor, y: Tensor) -> list[Any]:
    """All that the kernels of aggregate.py say of candidates, or C++ outside of the interpreter."""
    from ttc_fast.kernels import interpreted

    if interpreted():
        from ttc_fast.kernels import aggregate as engine
    else:
        engine = candidates
    _, samples, dim = w.shape
    weight = torch.stack((torch.full((dim,), 1 / dim), torch.arange(dim) / dim))
    found = engine.measure(w, examples=(x, y), factor=0.5, aim=(w_star, weight), equality=True, pack=True)
    sizes = powers_of_two(samples)
    best = [
        engine.best_of_k(
            found[0].round(), [found[0], found[1][0]], weights_of_ranks(samples, tuple(sizes)), lowest=lowest
        )
        for lowest in (False, True)
    ]
    votes = [engine.vote_recovery(found[2], w_star, *job[1:]) for job in Partitions(samples, 3).by_block(sizes)]
    return [
        *found,
        engine.tree_sum(w * w[:, :1]),
        engine.tree_sum(found[0]),
        *best,
        *(part for v in votes for part in v),
    ]
