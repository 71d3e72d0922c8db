"""Checks of arguments: what is refused, and what the error says."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from ttc_fast.numerics import check


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), pytest.param(10**5000, id="5000 digits"), math.inf, math.nan, np.longdouble("1e400")]
)
def test_numbers_beyond_floats(value: Any) -> None:
    with pytest.raises(ValueError, match="size: expected a finite number, got "):
        check.number("size", value)


@pytest.mark.parametrize("value", [True, 1 + 0j, np.complex64(1), "1", None, Fraction(1, 2), [1.0], np.zeros(1)])
def test_no_numbers(value: Any) -> None:
    with pytest.raises(TypeError, match="size: expected a number, got "):
        check.number("size", value)


def test_numbers_of_numpy() -> None:
    for value in (np.float32(0.5), np.float16(0.5), np.float64(0.5)):
        found = check.number("size", value)
        assert (found, type(found)) == (0.5, float)
    assert check.number("size", np.int8(3), low=0, high=10**10) == 3
    with pytest.raises(ValueError, match=re.escape("got -1")):
        check.number("size", np.int64(-1), low=0)


@pytest.mark.parametrize(
    ("value", "error"), [(1e39, ValueError), (-1.0, ValueError), (10**400, ValueError), (1j, TypeError)]
)
def test_scales_fit_float32(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="noise: expected a"):
        check.scale("noise", value)
    assert check.scale("noise", check.FLOAT32_MAX) == check.FLOAT32_MAX


@pytest.mark.parametrize("value", [np.zeros(2), torch.zeros(2), [1], {}, None, object(), torch.zeros(2, device="meta")])
def test_choices_compare_only_what_can_be_one(value: Any) -> None:
    with pytest.raises(ValueError, match="kind: expected one of 'a', 1, got "):
        check.choice("kind", value, ("a", 1))


DENSE = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 3)), "got ndarray; torch.from_numpy makes one of an array"),
        (DENSE.to_sparse(), "expected a dense tensor, got layout torch.sparse_coo; convert it with .to_dense()"),
        (DENSE.to("meta"), "expected a tensor with data, got one on the device meta"),
        (DENSE.to(torch.complex64), "got torch.complex64; take its real part"),
        (DENSE.bool(), "got torch.bool; convert it with .float()"),
        (DENSE.half(), "got torch.float16; convert it with .float()"),
    ],
)
def test_tensors_are_dense_real_and_have_data(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        check.tensor("x", value, ("B", "d"))


@pytest.mark.parametrize(
    "value",
    [[1j], np.zeros(2, complex), torch.zeros(2, dtype=torch.complex64), DENSE.bool(), DENSE.to_sparse(), ["a"], [True],
     DENSE.to("meta"), None, [[1], [1, 2]], np.zeros(2, "datetime64[s]")],
)  # fmt: skip
def test_numbers_without_imaginary_part(value: Any) -> None:
    with pytest.raises(TypeError, match="spectrum: expected"):
        check.numbers("spectrum", value)


def test_numbers_of_all_kinds() -> None:
    for value in ([1, 2], (1.0, 2.0), np.array([1, 2], dtype=np.int8), torch.tensor([1.0, 2.0], requires_grad=True)):
        found = check.numbers("spectrum", value)
        assert found.tolist() == [1.0, 2.0]
        assert found.dtype == torch.float64
        assert not found.requires_grad


def test_what_came_is_shown_in_one_short_line() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert check.shown("a\nb") == r"'a\nb'"
    assert check.shown(torch.zeros(2, 2)).count("\n") == 0
    assert len(check.shown("x" * 10**6)) < 120
    assert check.shown(Silent()) == "a value of type Silent"
    assert check.shown(10**5000) == "a value of type int"


@pytest.mark.parametrize("value", ["", "a\0b", b"\0", 3, None, object()])
def test_paths(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="file: expected a path, got "):
        check.path("file", value)
