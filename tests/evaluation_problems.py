"""Small evaluations, and when two of them are equal."""

from __future__ import annotations

import numpy as np

from ttc_fast import (
    LinearAttention,
    StochasticDecoder,
    Table,
)
from ttc_fast.decoding.rules import Rule


def decoder(rule: Rule, dim: int = 3, examples: int = 8) -> StochasticDecoder:
    return StochasticDecoder(LinearAttention.gradient_descent(dim, examples=examples), rule)


def assert_equal(got: Table, expected: Table) -> None:
    """To the bit, work included."""
    assert got.keys == expected.keys
    assert got.about == expected.about
    for name in ("prompts", "values", "thoughts", "scores"):
        assert np.array_equal(getattr(got, name), getattr(expected, name)), name
