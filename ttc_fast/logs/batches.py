"""Records that follow each other in a file, and the caps of what is held at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from .log import Record

MAX_LINE = 2**26
"""Bytes of a line."""

MAX_LIST = 2**28
"""Bytes of a JSON list or document, which must be held at once."""


class Batch(NamedTuple):
    """Records that follow each other."""

    places: list[Any]
    """The line of each, or its number in a list, from 1; or another place in words."""
    records: list[Record | ValueError]
    """Records, or what is wrong with them."""
    clean: bool = False
    """Whether all are records."""


Batches: TypeAlias = Iterator[Batch]


def too_long(most: int) -> ValueError:
    """The complaint about a line.

    Args:
        most: bytes of a line.
    """
    return ValueError(f"expected at most {most} bytes in a line")


def decoded(raw: bytes | ValueError, line: int, most: int) -> str | ValueError:
    """A line as text, or what is wrong with it.

    Args:
        raw: the bytes, or a complaint already.
        line: its number, from 1; the first may begin with a mark of the byte order.
        most: bytes of a line.
    """
    if isinstance(raw, ValueError):
        return raw
    if len(raw) > most:
        return too_long(most)
    try:
        return raw.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return ValueError(f"expected UTF-8, got the byte {raw[error.start]:#04x} at {error.start + 1}")
