"""``bigcode``: the ``logs.json`` of the bigcode-evaluation-harness, which is what ``code_eval`` of Hugging Face's
evaluate returns: ``{task: [[completion_id, {task_id, passed, result, completion_id}], ...]}``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import fields
from ..log import Item, Record, Sample
from ..records import Records
from .base import Format

NAME = "bigcode"
FIELDS = ("[completion_id, {passed}] of every task",)


def detect(record: Record) -> bool:
    """Whether a document is of this format: all its values are lists of such pairs."""
    return bool(record) and all(
        isinstance(results, list) and results and all(map(_is_result, results)) for results in record.values()
    )


def _is_result(result: Any) -> bool:
    return isinstance(result, list) and len(result) == 2 and isinstance(result[1], dict) and "passed" in result[1]


def expand(record: Record) -> Records:
    """A record for each completion."""
    for task, results in record.items():
        place = f"task {task!s:.40}"
        for one in results if isinstance(results, list) else [results]:
            if _is_result(one):
                yield place, {**one[1], "task": task, "number": one[0]}
            else:
                yield place, ValueError(f"expected a list of [number, {{passed}}], got {one!r:.40}")


def read(record: Record) -> Iterator[Item]:
    """The one completion of a record."""
    yield Sample(fields.text(record, "task"), fields.flag(record, "passed"), sample=fields.whole(record, "number"))


FORMAT = Format(NAME, detect, read, FIELDS, expand=expand)
