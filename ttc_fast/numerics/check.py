"""Checks of arguments: each error names the argument, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from . import memory
from .objects import flag as flag
from .objects import function as function
from .objects import has as has
from .objects import listed as listed
from .objects import path as path
from .objects import shown as shown
from .objects import text as text

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
"""About 3.4e38: what the kernels take at most."""


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
        raise TypeError(f"{name}: expected an integer, got {shown(value)}")
    if not low <= value <= high:
        raise ValueError(f"{name}: expected an integer from {low} to {high}, got {shown(int(value))}")
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
    return listed(name, value, "an integer or a sequence of them")


def names(name: str, value: object) -> tuple[str, ...]:
    """``value`` as a tuple of names; a string is one of them.

    Args:
        name: of the argument, for the error.
        value: what the user gave.

    Raises:
        TypeError: it is neither a string nor a sequence of them.
    """
    found = (value,) if isinstance(value, str) else tuple(listed(name, value, "a name or a sequence of names"))
    for one in found:
        if not isinstance(one, str):
            raise TypeError(f"{name}: expected names, got {shown(one)}")
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
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {shown(value)}")
    try:
        found = float(value)
    except OverflowError:  # of an integer
        found = math.inf
    if not (math.isfinite(found) and low <= found <= high):
        bounds = f" from {low:g} to {high:g}" if math.isfinite(high) else f" of at least {low:g}"
        # A number of NumPy would be shown with its type.
        came = shown(int(value) if isinstance(value, (int, np.integer)) else found)
        raise ValueError(f"{name}: expected a finite number{bounds if low > -math.inf else ''}, got {came}")
    return found


def scale(name: str, value: object) -> float:
    """``value`` as a number from 0 to the largest of float32, in which the kernels compute.

    Args:
        name: of the argument, for the error.
        value: what the user gave.

    Raises:
        TypeError: it is no number.
        ValueError: it is not finite, negative, or too large.
    """
    found = number(name, value, low=0.0)
    if found > FLOAT32_MAX:
        raise ValueError(
            f"{name}: expected a number up to {FLOAT32_MAX:.2g}, the largest of float32, got {found:g}; "
            "take smaller units"
        )
    return found


def choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Nothing, if ``value`` is one of ``choices``.

    Args:
        name: of the argument, for the error.
        value: what the user gave.
        choices: what is allowed.

    Raises:
        ValueError: it is none of them.
    """
    # Arrays and tensors have an equality of their own.
    if not isinstance(value, (str, int, float, np.integer)) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {shown(value)}")


def tensor(name: str, value: object, shape: Sequence[int | str]) -> Tensor:
    """``value`` as a float32 or float64 tensor of ``shape``.

    Args:
        name: of the argument, for the error.
        value: what the user gave.
        shape: sizes; a string stands for any size, and names it in the error.

    Raises:
        TypeError: it is no tensor of this dtype, or it is sparse or without data.
        ValueError: it has another shape.
    """
    from torch import Tensor  # not at the top: checks of numbers need not wait for torch

    if not isinstance(value, Tensor):
        hint = "; torch.from_numpy makes one of an array" if isinstance(value, np.ndarray) else ""
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(value).__name__}{hint}")
    if str(value.dtype) not in ("torch.float32", "torch.float64"):
        remedy = "take its real part" if value.is_complex() else "convert it with .float()"
        remedy = ".dequantize() it" if value.is_quantized else remedy
        raise TypeError(f"{name}: expected dtype float32 or float64, got {value.dtype}; {remedy}")
    _check_dense(name, value)
    if value.ndim != len(shape) or any(isinstance(s, int) and s != v for s, v in zip(shape, value.shape)):
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{name}: expected shape [{wanted}], got {list(value.shape)}")
    return value


def _check_dense(name: str, value: Tensor) -> None:
    if str(value.layout) != "torch.strided":
        raise TypeError(f"{name}: expected a dense tensor, got layout {value.layout}; convert it with .to_dense()")
    if value.device.type == "meta":
        raise TypeError(f"{name}: expected a tensor with data, got one on the device meta")


def numbers(name: str, value: object, expected: str = "numbers") -> Tensor:
    """``value``, numbers in a sequence, an array or a tensor, as a float64 tensor on the CPU without a gradient.

    Args:
        name: of the argument, for the error.
        value: what the user gave.
        expected: in words.

    Raises:
        TypeError: they are no real numbers; an imaginary part is not dropped.
    """
    import torch

    if isinstance(value, torch.Tensor):
        if value.is_complex() or value.is_quantized or value.dtype == torch.bool:
            raise TypeError(f"{name}: expected {expected}, got dtype {value.dtype}")
        _check_dense(name, value)
        return value.detach().cpu().double()
    try:
        array = np.asarray(value)
        if array.dtype == object:  # such as integers beyond 64 bits
            array = np.array([number(name, one) for one in array.ravel()]).reshape(array.shape)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: expected {expected}, got {shown(value)}") from error
    if array.dtype.kind not in "iuf" and array.size:
        raise TypeError(f"{name}: expected {expected}, got {shown(value)}")
    return torch.from_numpy(array.astype(np.float64))


def dtype(name: str, value: object) -> torch.dtype:
    """``value``, if it is float32 or float64.

    Args:
        name: of the argument, for the error.
        value: what the user gave.

    Raises:
        TypeError: it is not.
    """
    import torch

    if value is torch.float32 or value is torch.float64:
        return value
    raise TypeError(f"{name}: expected torch.float32 or torch.float64, got {shown(value)}")


ROOM: Final = 2**26
"""Bytes that are there without asking, which takes a tenth of a millisecond."""


def room(needed: int, what: str, remedy: str) -> None:
    """Nothing, if so many bytes fit into memory.

    Args:
        needed: bytes.
        what: needs them, for the error.
        remedy: for the error.

    Raises:
        ValueError: they do not.
    """
    if needed > ROOM:
        memory.check_memory(needed, what, remedy)


def finite(name: str, value: Tensor) -> Tensor:
    """``value``, if it has neither NaN nor infinity.

    Args:
        name: of the argument, for the error.
        value: a tensor of floats.

    Raises:
        ValueError: it has; the message says where.
    """
    if not all_finite(value):
        position = (~value.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"{name}: expected finite numbers, got {value[tuple(position)].item()} at {position}")
    return value


def all_finite(*values: Tensor) -> bool:
    """Whether no number is NaN or infinite; a GPU is waited for once.

    Args:
        values: tensors of floats on one device.
    """
    import torch

    # The extremes are NaN if any number is, and one pass finds them.
    extremes = [extreme for value in values if value.numel() for extreme in value.aminmax()]
    return not extremes or all(map(math.isfinite, torch.stack(extremes).tolist()))
