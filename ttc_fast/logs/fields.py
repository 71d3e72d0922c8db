"""Checked access to the fields of a record; a ValueError names the field, what was expected and what is there."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .log import Record

Value = TypeVar("Value")

LARGEST = 2**53
"""Whole numbers up to here are exact as float64."""


def has(record: Record, names: Sequence[str]) -> bool:
    """Whether the record has all these fields.

    Args:
        record: of a file.
        names: of the fields.
    """
    return all(name in record for name in names)


def required(record: Record, name: str, expected: str) -> Any:
    """The field as it is; ``expected`` describes it in the message if there is none.

    Args:
        record: of a file.
        name: of the field.
        expected: what the field should hold, for the error.

    Raises:
        ValueError: the field is not as described.
    """
    if name not in record:
        raise ValueError(f"{name}: expected {expected}, got no such field")
    return record[name]


def optional(record: Record, name: str, convert: Callable[[str, Any], Value]) -> Value | None:
    """The field as ``convert(name, value)`` takes it; None if there is none.

    Args:
        record: of a file.
        name: of the field.
        convert: called with the name and the value.

    Raises:
        ValueError: the field is not as described.
    """
    value = record.get(name)
    return None if value is None else convert(name, value)


def text(record: Record, name: str) -> str:
    """A required field that holds a text; a whole number is read as its digits.

    Args:
        record: of a file.
        name: of the field.

    Raises:
        ValueError: the field is not as described.
    """
    return to_text(name, required(record, name, "a text or a whole number"))


def flag(record: Record, name: str, expected: str = "true or false") -> bool:
    """A required field that says yes or no.

    Args:
        record: of a file.
        name: of the field.
        expected: what the field should hold, for the error.

    Raises:
        ValueError: the field is not as described.
    """
    return to_flag(name, required(record, name, expected))


def whole(record: Record, name: str, high: int = LARGEST) -> int:
    """A required field that holds a whole number from 0 to ``high``.

    Args:
        record: of a file.
        name: of the field.
        high: the largest number.

    Raises:
        ValueError: the field is not as described.
    """
    return to_whole(name, required(record, name, "a whole number"), high)


def values(record: Record, name: str, length: int | None = None) -> list[Any]:
    """A required field that holds a list, of ``length`` values if given.

    Args:
        record: of a file.
        name: of the field.
        length: of the list, if it must have one.

    Raises:
        ValueError: the field is not as described.
    """
    found = required(record, name, "a list")
    if not isinstance(found, list) or (length is not None and len(found) != length):
        expected = "a list" if length is None else f"a list of {length}"
        got = f"one of {len(found)}" if isinstance(found, list) else f"{found!r:.60}"
        raise ValueError(f"{name}: expected {expected}, got {got}")
    return found


def to_text(name: str, value: Any) -> str:
    """The value of the field ``name`` as a text; a whole number as its digits.

    Args:
        name: of the field.
        value: what the field holds.

    Raises:
        ValueError: the field is not as described.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{name}: expected a text or a whole number, got {value!r:.60}")


def to_flag(name: str, value: Any) -> bool:
    """The value of the field ``name`` as a bool; 0 and 1 count too, and so do the words in a cell of CSV.

    Args:
        name: of the field.
        value: what the field holds.

    Raises:
        ValueError: the field is not as described.
    """
    if value in ("0", "1", "true", "false", "True", "False"):
        return value in ("1", "true", "True")
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise ValueError(f"{name}: expected true, false, 1 or 0, got {value!r:.60}")


def to_whole(name: str, value: Any, high: int = LARGEST) -> int:
    """The value of the field ``name`` as a whole number from 0 to ``high``; digits in a cell of CSV count too.

    Args:
        name: of the field.
        value: what the field holds.
        high: the largest number.

    Raises:
        ValueError: the field is not as described.
    """
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
        raise ValueError(f"{name}: expected a whole number from 0 to {high}, got {value!r:.60}")
    return value


def to_number(name: str, value: Any) -> float:
    """The value of the field ``name`` as a finite number; a number in a cell of CSV counts too.

    Args:
        name: of the field.
        value: what the field holds.

    Raises:
        ValueError: the field is not as described.
    """
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}: expected a number, got {value!r:.60}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {value!r:.60}")
    return number
