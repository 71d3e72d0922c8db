"""Text files as records: JSON lines, a list in JSON, or comma-separated values under a heading.

The files are untrusted: nothing in them is executed, and every size is capped.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

from .log import Record

MAX_LINE = 2**26
"""Bytes of a line."""

MAX_LIST = 2**27
"""Bytes of a JSON list, which must be held at once."""

Records: TypeAlias = Iterator[tuple[str, Record | ValueError]]
"""Records, or what is wrong with them, each with its place in the file, such as ``"line 3"``."""


def text_records(file: BinaryIO, path: str) -> Records:
    """The records of a text file, whose kind is known by its first character.

    Args:
        file: open for reading, at its start.
        path: its name, for messages.

    Returns:
        An iterator over places and records; a place is ``"line 3"`` also for the third item of a list.

    Raises:
        ValueError: a list in JSON cannot be parsed, or is too long. What is wrong with a single record is
            yielded in its place.
    """
    start = file.read(4096).decode("utf-8", "replace").lstrip("\ufeff \t\r\n")[:1]
    file.seek(0)
    numbered = _list(file, path) if start == "[" else _json_lines(file) if start == "{" else _csv(file)
    for line, record in numbered:
        yield f"line {line}", record


_Numbered: TypeAlias = Iterator[tuple[int, Record | ValueError]]


def _json_lines(file: BinaryIO) -> _Numbered:
    for line, text in _lines(file):
        if isinstance(text, ValueError):
            yield line, text
        elif text.strip():
            yield line, _parse(text)


def _parse(text: str) -> Record | ValueError:
    try:
        record = json.loads(text)
    except RecursionError:
        return ValueError("expected JSON of moderate depth")
    except ValueError as error:
        return ValueError(f"expected JSON, got {text.strip()!r:.40}: {error}")
    return record if isinstance(record, dict) else ValueError(f"expected a JSON object, got {text.strip()!r:.40}")


def _list(file: BinaryIO, path: str) -> _Numbered:
    text = file.read(MAX_LIST + 1)
    if len(text) > MAX_LIST:
        raise ValueError(f"{path}: expected a JSON list of at most {MAX_LIST} bytes; write one object per line instead")
    try:
        items = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON list: {error}") from error
    for place, item in enumerate(items, 1):
        yield place, item if isinstance(item, dict) else ValueError(f"expected a JSON object, got {item!r:.40}")


def _csv(file: BinaryIO) -> _Numbered:
    """Rows under a heading; empty cells are left out."""
    heading: list[str] | None = None
    for line, text in _lines(file):
        if isinstance(text, ValueError):
            yield line, text
            continue
        try:
            row = next(csv.reader([text], strict=True), [])
        except csv.Error as error:
            yield line, ValueError(f"expected comma-separated values on one line: {error}")
            continue
        if heading is None:
            heading = [name.strip() for name in row]
        elif row and len(row) != len(heading):
            yield line, ValueError(f"expected {len(heading)} values as in the heading, got {len(row)}")
        elif row:
            yield line, {name: cell for name, cell in zip(heading, row) if cell != ""}


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | ValueError]]:
    """Lines of text, counted from 1, of limited length."""
    line = 0
    while raw := file.readline(MAX_LINE + 1):
        line += 1
        if len(raw) > MAX_LINE:
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(MAX_LINE)
            yield line, ValueError(f"expected at most {MAX_LINE} bytes in a line")
            continue
        try:
            yield line, raw.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield line, ValueError(f"expected UTF-8, got the byte {raw[error.start]:#04x} at {error.start + 1}")
