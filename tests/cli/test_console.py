"""Tables and numbers on the terminal."""

from __future__ import annotations

import math

import pytest

from ttc_fast.cli.console import aligned, evenly, short, with_error


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.02841, 0.00043, "0.0284(4)"),
        (0.0284, 0.000996, "0.028(1)"),  # the error's 9.96 is 10
        (9.96e-4, 1e-5, "0.00100(1)"),
        (0.996, 0.01, "1.00(1)"),
        (9.996e-4, 1e-6, "0.001000(1)"),
        (9.997e-5, 1e-7, "1.000(1)e-4"),  # the value's 9.997 is 10
        (1234.5, 20.2, "1230(20)"),
        (99_999.0, 20.0, "1.0000(2)e5"),
        (1.5e20, 1e19, "1.5(1)e20"),
        (-0.02841, 0.00043, "-0.0284(4)"),
        (-0.001, 0.2, "0.0(2)"),
        (3e-8, 5e-7, "0(5)e-7"),
        (3.0, 20.0, "0(20)"),
        (0.0, 0.1, "0.0(1)"),
        (0.5, 0.0, "0.5"),
        (0.0, 0.0, "0"),
        (0.5, math.nan, "0.5"),
        (0.5, math.inf, "0.5"),
        (math.nan, 0.1, "nan"),
        (math.inf, math.nan, "inf"),
        (0.5, 5e-324, "0.5"),
        (1e300, 1e299, "1.0(1)e300"),
    ],
)
def test_with_error(value: float, error: float, text: str) -> None:
    assert with_error(value, error) == text


def test_aligned() -> None:
    assert aligned(["name", "a"], [["x", "10.5"], ["longer", ""]]) == "name       a\n────────────\nx       10.5\nlonger"


def test_evenly_and_short() -> None:
    assert evenly(list(range(13)), 7) == [0, 2, 4, 6, 8, 10, 12]
    assert evenly([1, 2], 7) == [1, 2]
    assert [short(count) for count in (0, 999, 999_499, 999_500, 10**16)] == ["0", "999", "999k", "1M", "10P"]
