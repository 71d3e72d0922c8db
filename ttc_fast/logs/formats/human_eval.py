"""``human-eval``: the ``*_results.jsonl`` of OpenAI's human-eval, a line for each sample: ``{task_id, passed}``."""

from __future__ import annotations

from collections.abc import Iterator

from .. import fields
from ..log import Bulk, Item, Record, Sample
from . import plain
from .base import Format

NAME = "human-eval"
FIELDS = ("task_id", "passed")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def read(record: Record) -> Iterator[Item]:
    """The one sample of a record."""
    yield Sample(fields.text(record, "task_id"), fields.flag(record, "passed"))


def bulk(records: list[Record]) -> Bulk | None:
    """The samples of many records, where all are as they should be."""
    if not all(map(detect, records)):
        return None
    return plain.bulk([{"prompt": record["task_id"], "correct": record["passed"]} for record in records])


FORMAT = Format(NAME, detect, read, FIELDS, bulk=bulk)
