"""Checks of what a :class:`ttc_fast.Table` is made of."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..numerics import check
from .arrays import Integers, integers
from .key import Key

_PARTS = f"({', '.join(Key._fields)})"


def checked_keys(keys: Any) -> tuple[Key, ...]:
    """``keys`` as a tuple of :class:`Key`.

    Raises:
        TypeError, ValueError: one is no such key.
    """
    return tuple(checked_key("keys", key) for key in check.listed("keys", keys, f"a sequence of keys {_PARTS}"))


def checked_key(name: str, key: Any) -> Key:
    """``key`` as a :class:`Key`.

    Args:
        name: of the argument, for the error.
        key: as given.

    Raises:
        TypeError, ValueError: it is none.
    """
    parts = check.listed(name, key, _PARTS)
    if len(parts) != len(Key._fields):
        raise ValueError(f"{name}: expected {_PARTS}, got {check.shown(key)}")
    return _of_parts(name, *parts)


def _made(name: str, coefficients: Any, technique: Any, steps: Any, samples: Any, metric: Any) -> Key:
    for text in (coefficients, technique, metric):
        check.text(name, text)
    steps, samples = (check.integer(name, number, 0, 2**63) for number in (steps, samples))
    return Key(coefficients, technique, steps, samples, metric)


_known = functools.lru_cache(maxsize=2**14, typed=True)(_made)


def _of_parts(name: str, *parts: Any) -> Key:
    """A table is made, cut and joined with the same thousand keys again and again."""
    try:
        return _known(name, *parts)
    except TypeError:  # that of a check, or a part has no hash
        return _made(name, *parts)


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
