"""Tables as records: comma-separated values in their dialects, Parquet; and YAML.

* The separator is a comma, semicolon, tab or bar, whichever the heading has most of; cells may be quoted and then hold
  separators and ends of lines. With semicolons ``0,5`` is the number 0.5, as spreadsheets write it in half of Europe.
* Spaces around cells and headings go; empty cells are left out.
"""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Iterator
from typing import BinaryIO

from .batches import MAX_LINE, MAX_LIST, Batch, Batches, Rows, decoded
from .log import Record

ROWS = 4096
"""In a batch."""

FIRST_BYTES = b"PAR1"
"""Of every Parquet file."""

_DECIMAL_COMMA = re.compile(r"-?\d+,\d+$")


def csv_batches(file: BinaryIO) -> Batches:
    """Rows under a heading.

    Args:
        file: open for reading, at its start.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))  # of the process; a completion may be long
    lines = _Lines(file)
    first = next(lines, None)
    if first is None:
        if lines.bad:
            yield Batch([place for place, _ in lines.bad], [complaint for _, complaint in lines.bad])
        return
    separator = max(",;\t|", key=first.count)
    heading = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    twice = sorted({name for name in heading if name and heading.count(name) > 1})
    if twice:
        yield Batch(
            [lines.number], [ValueError(f"expected all names of the heading once, got {', '.join(twice)} again")]
        )
        return
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    places: list[int] = []
    records: list[Record | ValueError] = []
    while True:
        start = lines.number + 1
        try:
            row = next(reader, None)
            found: Record | ValueError | None = _record(row, heading, separator) if row else None
        except (csv.Error, ValueError) as error:
            row, found = (
                [],
                ValueError(f"expected separated values: {error}" if type(error) is csv.Error else str(error)),
            )
        for place, complaint in lines.bad:
            places.append(place)
            records.append(complaint)
        lines.bad.clear()
        if found is not None:
            places.append(start)
            records.append(found)
        if row is None or len(places) >= ROWS:
            yield Batch(places, records)
            places, records = [], []
        if row is None:
            return


def _record(row: list[str], heading: list[str], separator: str) -> Record:
    if len(row) != len(heading):
        raise ValueError(f"expected {len(heading)} values as in the heading, got {len(row)}")
    cells = [cell.strip() for cell in row]
    if separator == ";":
        cells = [cell.replace(",", ".") if _DECIMAL_COMMA.match(cell) else cell for cell in cells]
    return {name: cell for name, cell in zip(heading, cells) if cell != ""}


class _Lines:
    """Lines of text for :func:`csv.reader`; those that are none are put aside."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.number = 0
        self.bad: list[tuple[int, Record | ValueError]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while raw := self._file.readline(MAX_LINE + 1):
            self.number += 1
            text = decoded(raw, self.number, MAX_LINE)
            if isinstance(text, str):
                return text
            self.bad.append((self.number, text))
            while raw and not raw.endswith(b"\n"):
                raw = self._file.readline(MAX_LINE)
        raise StopIteration


def parquet_batches(file: BinaryIO, path: str) -> Batches:
    """The rows of a Parquet file.

    Args:
        file: open for reading, in which the reader can jump about.
        path: of the file, for the error.

    Raises:
        ValueError: it is no such file.
    """
    pyarrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    try:
        place = 0
        for part in parquet.ParquetFile(file).iter_batches(ROWS):
            table = pyarrow.Table.from_batches([part])
            if not place:  # by itself: the format is known by it
                yield Rows(table.slice(0, 1), 0)
            yield Rows(table.slice(not place), max(place, 1))
            place += part.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: expected a Parquet file, got a damaged one: {reason}") from error


def yaml_batches(file: BinaryIO, path: str) -> Batches:
    """The documents of a YAML file, such as Large Language Monkeys write.

    Args:
        file: open for reading, at its start.
        path: of the file, for the error.

    Raises:
        ValueError: it is no such file, or too long.
        ImportError: PyYAML is not installed; the message says how to get it.
    """
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise ImportError(f"{path}: YAML needs PyYAML: pip install 'ttc-fast[logs]'", name="yaml") from error
    text = file.read(MAX_LIST + 1)
    if len(text) > MAX_LIST:
        raise ValueError(f"{path}: expected at most {MAX_LIST} bytes of YAML")
    try:
        found = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: expected YAML: {' '.join(str(error).split())[:200]}") from error
    items = [item for one in found for item in (one if isinstance(one, list) else [one])]
    yield Batch(
        list(range(1, len(items) + 1)),
        [item if isinstance(item, dict) else ValueError(f"expected a mapping, got {item!r:.40}") for item in items],
    )
