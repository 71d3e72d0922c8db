"""``plain``: our own format, a line for each sample: ``{prompt, correct}`` and, if known, ``sample, answer, score,
tokens``; or a line for each prompt, with lists of them."""

from __future__ import annotations

from collections.abc import Iterator

from .. import fields
from ..log import Item, Record, Sample
from .base import Format

NAME = "plain"
FIELDS = ("prompt", "correct")
_OPTIONAL = ("answer", "score", "tokens", "sample")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def read(record: Record) -> Iterator[Item]:
    """The samples of a record."""
    labels = record.get("correct")
    if not isinstance(labels, list):
        yield _sample(record)
        return
    lists = {name: fields.values(record, name, len(labels)) for name in _OPTIONAL if record.get(name) is not None}
    for i, label in enumerate(labels):
        yield _sample({"prompt": record.get("prompt"), "correct": label} | {n: v[i] for n, v in lists.items()})


def _sample(record: Record) -> Sample:
    truth = fields.first(record, ("truth", "gold", "target"))
    if truth is not None and record.get("correct") is None:
        label: bool | None = None
    else:
        label = fields.flag(record, "correct")
    score = record.get("score")
    return Sample(
        fields.text(record, "prompt"),
        label,
        fields.optional(record, "answer", fields.to_text),
        None if isinstance(score, list) else fields.optional(record, "score", fields.to_number),
        fields.optional(record, "tokens", fields.to_whole),
        fields.optional(record, "sample", fields.to_whole),
        truth=None if truth is None else str(record[truth]),
        steps=fields.to_steps("score", score) if isinstance(score, list) else None,
    )


FORMAT = Format(NAME, detect, read, FIELDS, bulk={name: name for name in (*FIELDS, *_OPTIONAL)})
