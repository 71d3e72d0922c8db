"""``matrix``: an ``.npz`` file of arrays ``[P, N]``: ``correct`` and, if known, ``answer`` (negative: none),
``score``, ``tokens``. A record is a row of all of them: a prompt with its N samples.

The files are untrusted; :mod:`ttc_fast.numerics.npz` reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from ...numerics import npz
from .. import fields
from ..log import Item, Record, Sample
from ..records import Records
from .base import Format

NAME = "matrix"
FIELDS = ("row", "correct")

COLUMNS = 16
"""Bytes of the reader's columns for each number of an array, at most; what a row takes is little."""


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def read(record: Record) -> Iterator[Item]:
    """The samples of a row; its number is the name of the prompt."""
    correct = record["correct"]
    unknown = [None] * len(correct)
    answers, scores, tokens = (record.get(name, unknown) for name in ("answer", "score", "tokens"))
    for label, answer, score, length in zip(correct, answers, scores, tokens):
        yield Sample(
            str(record["row"]),
            fields.to_flag("correct", label),
            None if answer is None or answer < 0 else fields.to_text("answer", answer),
            None if score is None else fields.to_number("score", score),
            None if length is None else fields.to_whole("tokens", length),
        )


def rows(file: BinaryIO, path: str) -> Records:
    """The records of an archive: ``{"row": p, "correct": [...], ...}``, the values of every array's row p.

    Args:
        file: the archive.
        path: of the file, for the error.

    Raises:
        ValueError: the file does not hold such arrays; the message names the file and the array.
    """
    arrays = npz.read_arrays(
        file, path, "an .npz file of numbers, as numpy.savez(file, correct=...) writes it", extra=COLUMNS
    )
    unknown = set(arrays) - {"correct", "answer", "score", "tokens"}
    if unknown or "correct" not in arrays:
        got = ", ".join(arrays)[:200] or "none"
        raise ValueError(f"{path}: expected the arrays correct and, if known, answer, score, tokens; got {got}")
    correct = arrays["correct"]
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape != correct.shape or 0 in array.shape:
            raise ValueError(f"{path}: {name}: expected shape [P, N] {list(correct.shape)}, got {list(array.shape)}")
    for p in range(len(correct)):
        yield f"row {p}", {"row": p} | {name: array[p].tolist() for name, array in arrays.items()}


FORMAT = Format(NAME, detect, read, FIELDS, records=rows, first_bytes=npz.FIRST_BYTES, by_row=True)
