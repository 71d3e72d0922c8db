"""Text files as records: JSON lines, a list or one document in JSON, comma-separated values under a heading, YAML.

The files are untrusted: nothing in them is executed, and every size is capped. Lines are parsed in batches, by orjson
where it is installed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeAlias

from .batches import MAX_LINE, MAX_LIST, Batch, Batches, Lines, decoded, too_long
from .log import Record
from .tables import csv_batches, yaml_batches

try:
    import orjson
except ImportError:  # the extra `logs` has it
    orjson = None  # type: ignore[assignment, unused-ignore]  # asked for before use

BATCH = 2**20
"""Bytes of lines that are parsed together."""

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
    for batch in text_batches(file, path):
        for place, record in zip(batch.places, batch.records):
            yield f"line {place}", record


def text_batches(file: BinaryIO, path: str) -> Batches:
    """As :func:`text_records`, many records at a time.

    Args:
        file: open for reading, at its start.
        path: its name, for messages.

    Raises:
        ValueError: as there.
    """
    raw: Any = file
    buffered: io.BufferedReader = raw if hasattr(file, "peek") else io.BufferedReader(raw)
    start = buffered.peek(4096)[:4096].decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if start[:1] == "[":
        return _list(buffered, path)
    if start[:1] == "{":
        return _lines_or_document(buffered)
    if path.removesuffix(".gz").endswith((".yaml", ".yml")):
        return yaml_batches(buffered, path)
    return csv_batches(buffered)


def _lines_or_document(file: BinaryIO) -> Batches:
    """JSON lines; where the first line is no object by itself, one document of several lines."""
    first = file.readline(MAX_LINE + 1)
    line = 1
    while first and not first.strip(b"\xef\xbb\xbf \t\r\n"):
        first, line = file.readline(MAX_LINE + 1), line + 1
    if isinstance(_parse(first.decode("utf-8-sig", "replace")), ValueError) and not first.lstrip().startswith(b"["):
        first += file.read(MAX_LIST + 1)
        document = _parse(first.decode("utf-8-sig", "replace")) if len(first) <= MAX_LIST else None
        if isinstance(document, dict):
            yield Batch([line], [document])
            return
    yield from _json_lines(file, first, line - 1)


def _json_lines(file: BinaryIO, first: bytes, line: int) -> Batches:
    """``first``: bytes that are read already, after this many lines; its first line is a batch by itself, by which the
    format is known."""
    end = first.find(b"\n") + 1
    if end:
        yield _parsed(first[:end], line)
        line += 1
    for raw in _raw_batches(file, first[end:]):
        if isinstance(raw, ValueError):
            yield Batch([line + 1], [raw])
            line += 1
        else:
            batch = Lines(raw, line, _parsed)
            yield batch if len(raw) <= MAX_LINE else _parsed(raw, line)  # one of them may be too long
            line += batch.count


def _raw_batches(file: BinaryIO, first: bytes) -> Iterator[bytes | ValueError]:
    """Whole lines, many at a time; one that is too long is a complaint."""
    rest = first
    while True:
        part = file.read(BATCH)
        data = rest + part
        if not data:
            return
        end = data.rfind(b"\n") + 1 if part else len(data)
        if end == 0 or (not part and len(data) > MAX_LINE):
            if len(data) <= MAX_LINE:
                rest = data
                continue
            while part and b"\n" not in part:
                part = file.read(BATCH)
            rest = part[part.find(b"\n") + 1 :] if part else b""
            yield too_long(MAX_LINE)
            continue
        rest = data[end:]
        yield data[:end]


def _parsed(data: bytes, before: int) -> Batch:
    """All lines as one list in JSON if that can be parsed, else one by one."""
    lines = data.removesuffix(b"\n").split(b"\n")
    if orjson is not None and before and max(map(len, lines)) <= MAX_LINE:
        try:
            records = orjson.loads(b"[" + b",".join(lines) + b"]")
        except (ValueError, TypeError):
            records = ()
        if len(records) == len(lines) and set(map(type, records)) == {dict}:
            return Batch(range(before + 1, before + 1 + len(lines)), records)
    places: list[int] = []
    found: list[Record | ValueError] = []
    for number, raw in enumerate(lines, before + 1):
        if raw.strip(b"\xef\xbb\xbf \t\r\n"):
            places.append(number)
            found.append(_record(raw, number))
    return Batch(places, found)


def _record(raw: bytes, line: int) -> Record | ValueError:
    text = decoded(raw, line, MAX_LINE)
    return text if isinstance(text, ValueError) else _parse(text)


def _parse(text: str) -> Record | ValueError:
    try:
        record = json.loads(text)
    except RecursionError:
        return ValueError("expected JSON of moderate depth")
    except ValueError as error:
        return ValueError(f"expected JSON, got {text.strip()!r:.40}: {error}")
    return record if isinstance(record, dict) else ValueError(f"expected a JSON object, got {text.strip()!r:.40}")


def _list(file: BinaryIO, path: str) -> Batches:
    text = file.read(MAX_LIST + 1)
    if len(text) > MAX_LIST:
        raise ValueError(f"{path}: expected a JSON list of at most {MAX_LIST} bytes; write one object per line instead")
    try:
        items = _loaded(text)
    except (ValueError, RecursionError) as error:
        lines = text.split(b"\n")
        if len(lines) > 1 and not isinstance(_parse_any(lines[0]), Exception):  # a list in each line
            raise ValueError(f"{path}: line 1: expected a JSON object, got {lines[0][:40]!r}") from error
        raise ValueError(f"{path}: expected a JSON list: {error}") from error
    yield from _items(items)


def _loaded(text: bytes) -> Any:
    if orjson is not None:
        try:
            return orjson.loads(text)
        except ValueError:  # json takes NaN and a mark of the byte order, and says what is wrong
            pass
    return json.loads(text.decode("utf-8-sig"))


def _parse_any(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return error


def _items(items: list[Any]) -> Batches:
    records = [i if isinstance(i, dict) else ValueError(f"expected a JSON object, got {i!r:.40}") for i in items]
    yield Batch(list(range(1, len(records) + 1)), records)
