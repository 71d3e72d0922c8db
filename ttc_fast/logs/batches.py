"""Records that follow each other in a file, and the caps of what is held at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from .blocks import of_lines, of_table
from .log import Bulk, Record

MAX_LINE = 2**26
"""Bytes of a line."""

MAX_LIST = 2**28
"""Bytes of a JSON list or document, which must be held at once."""


class Batch:
    """Records that follow each other.

    Args:
        places: the line of each, or its number in a list, from 1; or another place in words.
        records: records, or what is wrong with them.
    """

    def __init__(self, places: Sequence[Any], records: list[Record | ValueError]) -> None:
        self.places, self._records = places, records

    @property
    def records(self) -> list[Record | ValueError]:
        return self._records

    def bulk(self, names: Mapping[str, str], settings: Sequence[str]) -> Bulk | None:
        """The samples of records of one each, column by column; None: one of them is not as it should be.

        Args:
            names: our fields -> those of a record.
            settings: fields that say how samples were made.
        """
        return None


class Lines(Batch):
    """Lines of JSON, parsed when they are asked for.

    Args:
        data: whole lines.
        before: lines of the file before these.
        parse: into records, one by one.
    """

    def __init__(self, data: bytes, before: int, parse: Callable[[bytes, int], Batch]) -> None:
        self._data, self._before, self._parse = data, before, parse
        self._parsed: Batch | None = None
        self.count = data.count(b"\n") + (data[-1:] != b"\n")
        super().__init__(range(before + 1, before + 1 + self.count), [])

    @property
    def records(self) -> list[Record | ValueError]:
        if self._parsed is None:
            self._parsed = self._parse(self._data, self._before)
            self.places = self._parsed.places  # without those of empty lines
        return self._parsed.records

    def bulk(self, names: Mapping[str, str], settings: Sequence[str]) -> Bulk | None:
        """As of every batch.

        Args:
            names, settings: see :meth:`Batch.bulk`.
        """
        return of_lines(self._data, len(self.places), names, settings)


class Rows(Batch):
    """Rows of a table of Arrow, made records when they are asked for.

    Args:
        table: the rows.
        before: rows of the file before these.
    """

    def __init__(self, table: Any, before: int) -> None:
        self._table = table
        super().__init__(range(before + 1, before + 1 + table.num_rows), [])

    @property
    def records(self) -> list[Record | ValueError]:
        # An empty cell is None in pyarrow and NaN in pandas: both are left out.
        rows: list[Any] = self._table.to_pylist()
        return [{name: cell for name, cell in row.items() if cell is not None and cell == cell} for row in rows]

    def bulk(self, names: Mapping[str, str], settings: Sequence[str]) -> Bulk | None:
        """As of every batch.

        Args:
            names, settings: see :meth:`Batch.bulk`.
        """
        return of_table(self._table, names, settings)


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
