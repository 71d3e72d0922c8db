"""``human-eval``: the ``*_results.jsonl`` of OpenAI's human-eval, a line for each sample: ``{task_id, passed}``."""

from __future__ import annotations

from collections.abc import Iterator

from .. import fields
from ..log import Item, Record, Sample
from .base import Format

NAME = "human-eval"
FIELDS = ("task_id", "passed")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def read(record: Record) -> Iterator[Item]:
    """The one sample of a record."""
    yield Sample(fields.text(record, "task_id"), fields.flag(record, "passed"))


FORMAT = Format(NAME, detect, read, FIELDS, bulk={"prompt": "task_id", "correct": "passed"})
