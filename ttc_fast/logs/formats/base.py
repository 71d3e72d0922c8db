"""What a format of logs is; ours and a user's own are made the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from ..log import Item, Record
from ..records import Records, text_records


@dataclass(frozen=True)
class Format:
    """How the files of a format are divided into records, and what a record holds.

    Give one of your own to :func:`ttc_fast.logs.reader.read`; a format of JSON, CSV or Parquet needs the first three
    only.
    """

    name: str
    detect: Callable[[Record], bool]
    """Whether a record is of this format, by its fields; asked for files of unknown format."""
    read: Callable[[Record], Iterable[Item]]
    """The samples of a record; a ValueError says which field cannot be understood, and why."""
    fields: tuple[str, ...] = ()
    """By which :attr:`detect` knows a record, for messages."""
    filter_of: Callable[[Record], str] | None = None
    """The filter that made a record, where a log holds the same samples under several filters; only the records
    of one of them may be read. Empty: the record is of none."""
    records: Callable[[BinaryIO, str], Records] = text_records
    """The records of an open file of this path, each with its place."""
    first_bytes: bytes = b""
    """How files begin that :attr:`records` divides; empty: text."""
    by_row: bool = False
    """Whether a prompt is known by its row, not by a name: then no row may be left out, and logs are compared row
    by row."""
    expand: Callable[[Record], Records] | None = None
    """The records of a document, where a file is one; :attr:`detect` is asked for the document."""
    bulk: Mapping[str, str] | None = None
    """Where records are one sample each: our fields -> those of a record, so that many whose fields have the usual
    types are read at once, with the results of :attr:`read`."""
