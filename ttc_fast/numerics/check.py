"""Checks of arguments: each error names the argument, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def integer(name: str, value: object, low: int, high: int) -> int:
    """``value`` as an int in [low, high].

    Args:
        name: of the argument, for the error.
        value: what the user gave.
        low, high: bounds, both allowed.

    Raises:
        TypeError: it is no integer.
        ValueError: it is out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name}: expected an integer from {low} to {high}, got {value}")
    return int(value)


def one_or_more(name: str, value: object) -> list[object]:
    """``value`` as a list; a number is one of them.

    Args:
        name: of the argument, for the error.
        value: what the user gave.

    Raises:
        TypeError: it is neither an integer nor a sequence.
    """
    if isinstance(value, (int, np.integer)):
        return [value]
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name}: expected an integer or a sequence of them, got {value!r}")
    return list(value)


def names(name: str, value: object) -> tuple[str, ...]:
    """``value`` as a tuple of names; a string is one of them.

    Args:
        name: of the argument, for the error.
        value: what the user gave.

    Raises:
        TypeError: it is neither a string nor a sequence of them.
    """
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, Iterable):
        raise TypeError(f"{name}: expected a name or a sequence of names, got {value!r}")
    found = tuple(given)
    for one in found:
        if not isinstance(one, str):
            raise TypeError(f"{name}: expected names, got {one!r}")
    return found


def number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """``value`` as a finite float in [low, high].

    Args:
        name: of the argument, for the error.
        value: what the user gave.
        low, high: bounds, both allowed.

    Raises:
        TypeError: it is no number.
        ValueError: it is not finite, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not (math.isfinite(value) and low <= value <= high):
        bounds = f" from {low:g} to {high:g}" if math.isfinite(high) else f" of at least {low:g}"
        raise ValueError(f"{name}: expected a finite number{bounds if low > -math.inf else ''}, got {value}")
    return float(value)


def choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Nothing, if ``value`` is one of ``choices``.

    Args:
        name: of the argument, for the error.
        value: what the user gave.
        choices: what is allowed.

    Raises:
        ValueError: it is none of them.
    """
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def tensor(name: str, value: object, shape: Sequence[int | str]) -> Tensor:
    """``value`` as a float32 or float64 tensor of ``shape``.

    Args:
        name: of the argument, for the error.
        value: what the user gave.
        shape: sizes; a string stands for any size, and names it in the error.

    Raises:
        TypeError: it is no tensor of this dtype.
        ValueError: it has another shape.
    """
    from torch import Tensor  # not at the top: checks of numbers need not wait for torch

    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(value).__name__}")
    if str(value.dtype) not in ("torch.float32", "torch.float64"):
        raise TypeError(f"{name}: expected dtype float32 or float64, got {value.dtype}; convert it with .float()")
    if value.ndim != len(shape) or any(isinstance(s, int) and s != v for s, v in zip(shape, value.shape)):
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{name}: expected shape [{wanted}], got {list(value.shape)}")
    return value


def finite(name: str, value: Tensor) -> Tensor:
    """``value``, if it has neither NaN nor infinity.

    Args:
        name: of the argument, for the error.
        value: a tensor of floats.

    Raises:
        ValueError: it has; the message says where.
    """
    # The extremes are NaN if any number is, and one pass finds them.
    if value.numel() and not all(math.isfinite(extreme.item()) for extreme in value.aminmax()):
        position = (~value.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"{name}: expected finite numbers, got {value[tuple(position)].item()} at {position}")
    return value
