"""The arrays that estimators take and return, and the checks of them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..numerics import check

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
    array = plain(name, values, "integers")
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name}: expected integers, got dtype {array.dtype}")
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: expected integers below 2^63, got {array.max()}")
    return array.astype(np.int64)


def plain(name: str, values: object, expected: str) -> NDArray[Any]:
    """``values`` as an array of whatever type, but of numbers.

    Args:
        name: of the argument, for the error.
        values: a number, a sequence, an array, or a tensor on the CPU.
        expected: in words.

    Raises:
        TypeError: they are no real numbers; an imaginary part is not dropped.
    """
    try:
        array = np.asarray(values.detach() if hasattr(values, "detach") else values)
    except Exception as error:  # whatever the conversion of a foreign object raises
        raise TypeError(f"{name}: expected {expected}, got {check.shown(values)}") from error
    if array.dtype == object and array.size and all(isinstance(one, int) for one in array.ravel()):
        raise ValueError(f"{name}: expected integers below 2^63, got {check.shown(values)}")
    if array.size and array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected {expected}, got dtype {array.dtype}")
    return array


def floats(name: str, values: object) -> Array:
    """``values`` as float64, of any shape.

    Args:
        name: of the argument, for the error.
        values: numbers.

    Raises:
        TypeError: they are none.
    """
    return plain(name, values, "numbers").astype(np.float64)


def bank(name: str, values: ArrayLike) -> Array:
    """``values`` as a bank: one number for every sample of every prompt ``[P, N]``.

    Args:
        name: of the argument, for the error.
        values: numbers, infinite ones included.

    Raises:
        ValueError: another shape, no samples, or NaN.
    """
    array = floats(name, values)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"{name}: expected shape [P, N] with N >= 1, got {list(array.shape)}")
    if np.isnan(array).any():
        raise ValueError(f"{name}: expected numbers, got NaN")
    return array
