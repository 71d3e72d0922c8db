"""Checks of arguments that are no numbers: texts, flags, functions and objects with attributes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np


def shown(value: object) -> str:
    """``value`` for an error: its repr in one short line, or its type where it has none."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # of a user's object, or of an integer of very many digits
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:80]}... ({type(value).__name__})"


def listed(name: str, value: object, expected: str) -> list[Any]:
    """The elements of ``value``, which is a sequence or another iterable, but no text.

    Args:
        name: of the argument, for the error.
        value: what the user gave.
        expected: in words.

    Raises:
        TypeError: it has no elements.
    """
    if not isinstance(value, (str, bytes)) and isinstance(value, Iterable):
        try:
            return list(value)
        except Exception as error:  # such as of a tensor without dimensions
            raise TypeError(f"{name}: expected {expected}, got {shown(value)}: {error}") from error
    raise TypeError(f"{name}: expected {expected}, got {shown(value)}")


def flag(name: str, value: object) -> bool:
    """``value`` as True or False.

    Args:
        name: of the argument, for the error.
        value: what the user gave.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {shown(value)}")
    return bool(value)


def function(name: str, value: object) -> Callable[..., Any]:
    """``value``, if it can be called.

    Args:
        name: of the argument, for the error.
        value: what the user gave.

    Raises:
        TypeError: it cannot.
    """
    if not callable(value):
        raise TypeError(f"{name}: expected a function, got {shown(value)}")
    return value


def text(name: str, value: object) -> str:
    """``value`` as a string.

    Args:
        name: of the argument, for the error.
        value: what the user gave.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {shown(value)}")
    return value


def path(name: str, value: object) -> str | bytes:
    """``value`` as a path that the system can take.

    Args:
        name: of the argument, for the error.
        value: what the user gave.

    Raises:
        TypeError: it is none.
        ValueError: it holds the character NUL, or is empty.
    """
    try:
        found = os.fspath(value)  # type: ignore[call-overload]  # else it raises
    except TypeError as error:
        raise TypeError(f"{name}: expected a path, got {shown(value)}") from error
    if not found or "\0" in os.fsdecode(found):
        raise ValueError(f"{name}: expected a path, got {shown(found)}")
    return found  # type: ignore[no-any-return]  # str or bytes


def has(name: str, value: object, attributes: Sequence[str], expected: str) -> None:
    """Nothing, if ``value`` is an object with these attributes, whatever its type.

    Args:
        name: of the argument, for the error.
        value: what the user gave.
        attributes: what is asked of it.
        expected: in words.

    Raises:
        TypeError: it lacks one.
    """
    if isinstance(value, type) or not all(hasattr(value, attribute) for attribute in attributes):
        raise TypeError(f"{name}: expected {expected}, got {shown(value)}")
