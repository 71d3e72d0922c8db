"""Checks of what a :class:`ttc_fast.Table` is made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..numerics import check
from .arrays import Integers, integers
from .key import Key


def checked_keys(keys: Any) -> tuple[Key, ...]:
    """``keys`` as a tuple of :class:`Key`.

    Raises:
        TypeError, ValueError: one is no such key.
    """
    wanted = f"a sequence of keys ({', '.join(Key._fields)})"
    return tuple(checked_key("keys", key) for key in check.listed("keys", keys, wanted))


def checked_key(name: str, key: Any) -> Key:
    """``key`` as a :class:`Key`.

    Args:
        name: of the argument, for the error.
        key: as given.

    Raises:
        TypeError, ValueError: it is none.
    """
    parts = check.listed(name, key, f"({', '.join(Key._fields)})")
    if len(parts) != len(Key._fields):
        raise ValueError(f"{name}: expected ({', '.join(Key._fields)}), got {check.shown(key)}")
    coefficients, technique, steps, samples, metric = parts
    for text in (coefficients, technique, metric):
        check.text(name, text)
    return Key(
        coefficients, technique, check.integer(name, steps, 0, 2**63), check.integer(name, samples, 0, 2**63), metric
    )


def checked_prompts(prompts: Any) -> Integers:
    """Global indices ``[P]``.

    Raises:
        TypeError, ValueError: they are no integers in one dimension, or not ascending.
    """
    found = integers("prompts", prompts)
    if found.ndim != 1 or (np.diff(found) <= 0).any():
        raise ValueError("prompts: expected ascending indices, each once")
    return found


def row_of(keys: tuple[Key, ...], key: Any) -> int:
    """The row of a key.

    Args:
        keys: of a table.
        key: one of them.

    Raises:
        TypeError, ValueError: it is none of them.
    """
    found = checked_key("key", key)
    if found not in keys:
        raise ValueError(f"key: expected one of table.keys, got {check.shown(key)}")
    return keys.index(found)


def values_of(name: str, wanted: Any) -> list[Any]:
    """Values that a part of a key may have.

    Args:
        name: of the part.
        wanted: one, or several.

    Raises:
        TypeError: they are none.
    """
    if isinstance(wanted, (str, int, np.integer)):
        return [wanted]
    values = check.listed(name, wanted, "a value or several")
    return [value for value in values if isinstance(value, (str, int, np.integer))]


def checked_tables(tables: Any) -> list[Any]:
    """Tables to be put together.

    Raises:
        TypeError: one is no table.
    """
    parts = check.listed("tables", tables, "tables of the same keys")
    for part in parts:
        check_table("tables", part)
    return parts


def check_table(name: str, table: Any) -> None:
    """Nothing, if ``table`` has what a :class:`ttc_fast.Table` has.

    Args:
        name: of the argument, for the error.
        table: as given.

    Raises:
        TypeError: it has not.
    """
    wanted = "a Table of ttc_fast.evaluate"
    check.has(name, table, ("keys", "prompts", "values", "about", "theory", "select"), wanted)
    check.has(f"{name}.about", table.about, ("get", "items"), f"the facts of {wanted}")
