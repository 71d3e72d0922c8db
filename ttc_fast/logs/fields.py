"""Checked access to the fields of a record; a ValueError names the field, what was expected and what is there."""

from __future__ import annotations

import contextlib
import math
import re
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
    return None if value is None or value == "" else convert(name, value)


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
    """The value of the field ``name`` as a text; a number as its digits, without those of 42.0.

    Args:
        name: of the field.
        value: what the field holds.

    Raises:
        ValueError: the field is not as described.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) <= LARGEST else repr(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    raise ValueError(f"{name}: expected a text or a whole number, got {value!r:.60}")


def to_flag(name: str, value: Any) -> bool:
    """The value of the field ``name`` as a bool; 0 and 1 count too, and so do the words in a cell of CSV: TRUE, 1.0.

    Args:
        name: of the field.
        value: what the field holds.

    Raises:
        ValueError: the field is not as described.
    """
    if isinstance(value, str):
        value = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(
            value.strip().lower(), value
        )
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
    got = value
    if isinstance(value, str) and len(value) < 25 and re.fullmatch(r"\s*\d+(\.0*)?\s*", value, re.ASCII):
        value = int(value.partition(".")[0])
    if isinstance(value, float) and value.is_integer():  # pandas writes 4.0 as soon as one cell is empty
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
        raise ValueError(f"{name}: expected a whole number from 0 to {high}, got {got!r:.60}")
    return value


def to_length(name: str, value: Any) -> float:
    """The value of the field ``name`` as a number of tokens; NaN for -1, which stands for not counted.

    Args:
        name: of the field.
        value: what the field holds.

    Raises:
        ValueError: the field is not as described.
    """
    return math.nan if value is None or value in (-1, -1.0) else to_whole(name, value)


def to_steps(name: str, value: Any) -> list[float]:
    """The value of the field ``name`` as the scores of steps: a list of numbers, or one number.

    Args:
        name: of the field.
        value: what the field holds.

    Raises:
        ValueError: the field is not as described.
    """
    return [to_number(name, one) for one in (value if isinstance(value, list) else [value])]


def first(record: Record, names: Sequence[str]) -> str | None:
    """The first of these names that the record has a value of; None if it has none.

    Args:
        record: of a file.
        names: of fields.
    """
    return next((name for name in names if record.get(name) is not None), None)


def to_number(name: str, value: Any) -> float:
    """The value of the field ``name`` as a finite number; a number in a cell of CSV counts too,
    and a verdict, true or false, as 1 or 0.

    Args:
        name: of the field.
        value: what the field holds.

    Raises:
        ValueError: the field is not as described.
    """
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if not isinstance(value, (int, float)):
        raise ValueError(f"{name}: expected a number, got {value!r:.60}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {value!r:.60}")
    return number
