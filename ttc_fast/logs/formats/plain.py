"""``plain``: our own format, a line for each sample: ``{prompt, correct}`` and, if known, ``sample, answer, score,
tokens``."""

from __future__ import annotations

from collections.abc import Iterator

from .. import fields
from ..log import PromptCounts, Record, Sample
from .base import Format

NAME = "plain"
FIELDS = ("prompt", "correct")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def read(record: Record) -> Iterator[Sample | PromptCounts]:
    """The one sample of a record."""
    yield Sample(
        fields.text(record, "prompt"),
        fields.flag(record, "correct"),
        fields.optional(record, "answer", fields.to_text),
        fields.optional(record, "score", fields.to_number),
        fields.optional(record, "tokens", fields.to_whole),
        fields.optional(record, "sample", fields.to_whole),
    )


FORMAT = Format(NAME, detect, read, FIELDS)
