"""``counts``: a line for each prompt, ``{id, n, c}`` (or ``prompt``, ``task_id``): n samples, c of them correct."""

from __future__ import annotations

from collections.abc import Iterator

from .. import fields
from ..log import Item, PromptCounts, Record
from .base import Format

NAME = "counts"
FIELDS = ("id", "n", "c")
NAMES = ("id", "prompt", "task_id")
"""What the name of the prompt may be called."""

MAX_COUNT = 10**7
"""Samples of one prompt that a file may claim."""


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS[1:]) and any(fields.has(record, (name,)) for name in NAMES)


def read(record: Record) -> Iterator[Item]:
    """The one prompt of a record."""
    n = fields.whole(record, "n", MAX_COUNT)
    if n == 0:
        raise ValueError("n: expected at least 1 sample, got 0")
    name = next((name for name in NAMES if name in record), "id")
    yield PromptCounts(fields.text(record, name), n, fields.whole(record, "c", n))


FORMAT = Format(NAME, detect, read, FIELDS)
