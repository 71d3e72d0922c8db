"""Values that no argument should be, or only just may be."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import ttc_fast as tf


class Empty:
    """An object with nothing."""


class Everything:
    """An object with every attribute, all of them wrong."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return "wrong"


class Hollow:
    """Prompts, by their methods."""

    def part(self, start: int, stop: int) -> Any:
        return None

    def __len__(self) -> int:
        return 2


class Endless:
    """A schedule that gives what it likes."""

    def scales(self, steps: int) -> Any:
        return torch.full((3,), math.nan)


def _forever() -> Iterator[int]:
    yield from (1, 2)


def _quantized() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch will have none some day
        made: torch.Tensor = torch.quantize_per_tensor(torch.zeros(2, 3), 0.1, 0, torch.qint8)
    return made


INTEGERS: list[Any] = [
    -1,
    0,
    1,
    2,
    3,
    2**36,
    2**63,
    2**64,
    -(2**64),
    10**400,
    -(10**400),
    True,
    np.int8(2),
    np.uint64(3),
]
"""Small, or beyond every limit: what lies between is work, not a mistake."""

FLOATS: list[Any] = [
    0.0, -0.0, 0.5, 1e-320, 1e-45, 1e-30, 1e19, 1e39, 1e308, -1e308, math.inf, -math.inf, math.nan, np.float32(0.2),
    np.float16(0.5), np.float64(math.nan), np.longdouble("1e400"), Decimal("0.1"), Fraction(1, 3), 1 + 2j,
    np.complex64(1j),
]  # fmt: skip

OTHERS: list[Any] = [
    None, "", "0.5", "mean", "every_step", "\x00", "\x1b[31m", "x" * 300, b"", b"mean", [], (), {}, set(), [None],
    ["mean"], [1, 2], [0.1, 0.2], [[1, 0], [0, 1]], [math.nan], [10**400], ["a", 1], {"a": 1}, range(3), slice(2),
    int, object, tf.GaussianNoise, len, Path("missing"), Empty(), Everything(), Hollow(), Endless(), NotImplemented,
    SimpleNamespace(model=None, rule=None, decode=None, start=None), SimpleNamespace(linear=None), ...,
]  # fmt: skip

_Makers = list[Callable[[], Any]]

TENSORS: _Makers = [
    lambda: torch.tensor(0.5),
    lambda: torch.zeros(0),
    lambda: torch.zeros(2, 3),
    lambda: torch.zeros(2, 3, 4),
    lambda: torch.zeros(1, 2, 3, 4),
    lambda: torch.zeros(2, 3, dtype=torch.float64, requires_grad=True),
    lambda: torch.zeros(2, 3, requires_grad=True),
    lambda: torch.tensor([0.1, 0.1, 0.1, 0.1], requires_grad=True),
    lambda: torch.full((2, 3), math.nan),
    lambda: torch.full((2, 3), 1e30),
    lambda: torch.zeros(2, 3, dtype=torch.int64),
    lambda: torch.zeros(2, 3, dtype=torch.bool),
    lambda: torch.zeros(3, dtype=torch.complex64),
    lambda: torch.zeros(2, 3, dtype=torch.complex64),
    lambda: torch.zeros(2, 3, dtype=torch.float16),
    lambda: torch.zeros(2, 3, dtype=torch.bfloat16),
    lambda: torch.eye(3).to_sparse(),
    lambda: torch.zeros(2, 3).to_sparse(),
    lambda: torch.zeros(2, 3, 4).to_sparse(),
    lambda: torch.zeros(2, 3, device="meta"),
    lambda: torch.zeros(4, device="meta"),
    lambda: torch.zeros(2, 3, 4, device="meta"),
    lambda: _quantized(),
    lambda: torch.zeros(3, 2).mT,
    lambda: torch.zeros(1, 3).expand(2, 3),
    lambda: torch.nn.Parameter(torch.zeros(2, 3)),
    lambda: torch.zeros(2, 3)[:, ::2],
]
"""Made anew for every call."""

ARRAYS: _Makers = [
    lambda: np.array(0.5),
    lambda: np.zeros(0),
    lambda: np.zeros((2, 3)),
    lambda: np.ones((2, 3), dtype=np.int64),
    lambda: np.ones((2, 3), dtype=np.uint64) * np.uint64(2**63),
    lambda: np.ones((2, 3), dtype=bool),
    lambda: np.zeros((2, 3), dtype=complex),
    lambda: np.full((2, 3), np.nan),
    lambda: np.full((2, 3), np.inf),
    lambda: np.zeros((2, 3), dtype=object),
    lambda: np.array(["a", "b"]),
    lambda: np.array([b"a"]),
    lambda: np.zeros(2, dtype=[("a", "f4")]),
    lambda: np.zeros(3, dtype="datetime64[s]"),
    lambda: np.zeros((2, 3), dtype=np.float16),
    lambda: np.zeros((2, 3), dtype=np.longdouble),
    lambda: np.zeros((2, 3), dtype=">f4"),
    lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
]

OURS: _Makers = [
    lambda: tf.LinearRegression(3, 4),
    lambda: tf.LinearRegression(3, 4).sample(2),
    lambda: tf.LinearRegression(2, 4).sample(2, dtype=torch.float64),
    lambda: tf.LinearRegression(3, 4).prompts(3),
    lambda: tf.LinearAttention.gradient_descent(3, examples=4),
    lambda: tf.StochasticDecoder(tf.LinearAttention.gradient_descent(3, examples=4), tf.GaussianNoise()),
    lambda: tf.StochasticDecoder(tf.LinearAttention.gradient_descent(3, examples=4), tf.BernoulliSampling()),
    lambda: tf.BernoulliSampling(temperature=1e-46),
    lambda: tf.SubsetSampling(9),
    lambda: tf.GeometricDecay(1e30, 1e30),
    lambda: tf.PowerLawDecay(1.0, -200.0),
    lambda: tf.InContextLoss(),
    lambda: tf.HeldOutLoss(9),
    lambda: tf.WrongVerifier(torch.zeros(7)),
    lambda: tf.RunConfig(),
    lambda: tf.Table((), np.zeros(0, dtype=np.int64), np.zeros((0, 0))),
    lambda: tf.TECHNIQUES["mean"],
    lambda: tf.TECHNIQUES["beam_search"],
    _forever,
]


def nasty(draw: random.Random) -> Any:
    """One of all."""
    plain = draw.choice((INTEGERS, FLOATS, OTHERS, TENSORS, ARRAYS, OURS))
    value = draw.choice(plain)
    made = any(plain is pool for pool in (TENSORS, ARRAYS, OURS))
    return value() if made else value
