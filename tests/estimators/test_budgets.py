"""Budgets, the checks of arrays, and what the estimators import."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from ttc_fast.estimators.arrays import bank, integers
from ttc_fast.estimators.budgets import powers_of_two, sizes


@pytest.mark.parametrize(
    ("samples", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (9, [1, 2, 4, 8, 9])]
)
def test_powers_of_two(samples: int, expected: list[int]) -> None:
    assert powers_of_two(samples) == expected


def test_sizes_keep_the_order_given() -> None:
    assert sizes([4, 1, 4]).tolist() == [4, 1, 4]
    assert sizes(range(1, 3)).tolist() == [1, 2]


@pytest.mark.parametrize("budgets", [[], [0], [2, -1], [[1]]])
def test_sizes_of_wrong_budgets(budgets: list[int]) -> None:
    with pytest.raises(ValueError, match="budgets: expected integers of at least 1"):
        sizes(budgets)


def test_wrong_arrays() -> None:
    with pytest.raises(TypeError, match="budgets: expected integers, got dtype float64"):
        sizes([1.5])  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(TypeError, match="answers: expected integers, got dtype bool"):
        integers("answers", [True])
    with pytest.raises(ValueError, match=r"score: expected shape \[P, N\] with N >= 1, got \[2\]"):
        bank("score", [1.0, 2.0])
    with pytest.raises(ValueError, match="score: expected numbers, got NaN"):
        bank("score", [[float("nan")]])
    assert np.isinf(bank("score", [[float("inf")]])).all()


def test_estimators_do_without_torch() -> None:
    """``ttc-fast analyze`` starts in a fraction of the time that torch takes to load."""
    program = (
        "import importlib, pkgutil, sys, ttc_fast.estimators as room\n"
        "for module in pkgutil.iter_modules(room.__path__):\n"
        "    importlib.import_module(f'ttc_fast.estimators.{module.name}')\n"
        "print(sorted({'torch', 'pandas', 'xarray', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
