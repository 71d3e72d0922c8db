"""``matrix``: an ``.npz`` file of arrays ``[P, N]``: ``correct`` and, if known, ``answer`` (negative: none),
``score``, ``tokens``. A record is a row of all of them: a prompt with its N samples.

The files are untrusted: the size of an array is checked before it is unpacked, and nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .. import fields
from ..log import PromptCounts, Record, Sample
from ..records import Records
from .base import Format

NAME = "matrix"
FIELDS = ("row", "correct")
FIRST_BYTES = b"PK"
"""Of every zip archive."""

MAX_ARRAY = 2**30
"""Bytes of an array, which must be held at once."""


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def read(record: Record) -> Iterator[Sample | PromptCounts]:
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
    try:
        with zipfile.ZipFile(file) as archive:
            arrays = {info.filename.removesuffix(".npy"): _array(archive, info) for info in archive.infolist()[:16]}
    except (ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected an .npz file of numbers: {error}") from error
    unknown = set(arrays) - {"correct", "answer", "score", "tokens"}
    if unknown or "correct" not in arrays:
        raise ValueError(
            f"{path}: expected the arrays correct and, if known, answer, score, tokens; got {', '.join(arrays)}"
        )
    correct = arrays["correct"]
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape != correct.shape or 0 in array.shape:
            raise ValueError(f"{path}: {name}: expected shape [P, N] {list(correct.shape)}, got {list(array.shape)}")
    for p in range(len(correct)):
        yield f"row {p}", {"row": p} | {name: array[p].tolist() for name, array in arrays.items()}


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One array of numbers."""
    if info.file_size > MAX_ARRAY:
        raise ValueError(f"{info.filename}: expected at most {MAX_ARRAY} bytes unpacked, got {info.file_size}")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{info.filename}: expected version 1 or 2 of the .npy format, got {version}")
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, column_major, dtype = header(member)
        if dtype.kind not in "biuf":
            raise ValueError(f"{info.filename}: expected numbers, got dtype {dtype}")
        if math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"{info.filename}: expected as many numbers as its shape {list(shape)} says, got fewer")
        values = np.frombuffer(member.read(math.prod(shape) * dtype.itemsize), dtype=dtype)
    return values.reshape(shape[::-1]).T if column_major else values.reshape(shape)


FORMAT = Format(NAME, detect, read, FIELDS, records=rows, first_bytes=FIRST_BYTES, by_row=True)
