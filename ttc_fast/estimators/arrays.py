"""The arrays that estimators take and return, and the checks of them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]


def integers(name: str, values: ArrayLike) -> Integers:
    """``values`` as an array of integers, of any shape.

    Args:
        name: of the argument, for the error.
        values: of an integer type, or empty.

    Raises:
        TypeError: they are of another type.
    """
    array = np.asarray(values)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name}: expected integers, got dtype {array.dtype}")
    return array.astype(np.int64)


def bank(name: str, values: ArrayLike) -> Array:
    """``values`` as a bank: one number for every sample of every prompt ``[P, N]``.

    Args:
        name: of the argument, for the error.
        values: numbers, infinite ones included.

    Raises:
        ValueError: another shape, no samples, or NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"{name}: expected shape [P, N] with N >= 1, got {list(array.shape)}")
    if np.isnan(array).any():
        raise ValueError(f"{name}: expected numbers, got NaN")
    return array
