"""``livecodebench``: the ``*_eval_all.json`` of LiveCodeBench, a list with an item for each problem:
``{question_id, code_list, graded_list}``."""

from __future__ import annotations

from collections.abc import Iterator

from .. import fields
from ..log import Item, Record, Sample
from .base import Format

NAME = "livecodebench"
FIELDS = ("question_id", "graded_list")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def read(record: Record) -> Iterator[Item]:
    """The programs of a problem; no two are compared."""
    prompt = fields.text(record, "question_id")
    for passed in fields.values(record, "graded_list"):
        yield Sample(prompt, fields.to_flag("graded_list", passed))


FORMAT = Format(NAME, detect, read, FIELDS)
