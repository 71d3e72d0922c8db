"""``plain``: our own format, a line for each sample: ``{prompt, correct}`` and, if known, ``sample, answer, score,
tokens``; or a line for each prompt, with lists of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import fields
from ..log import Bulk, Item, Record, Sample
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


def bulk(records: list[Record]) -> Bulk | None:
    """The samples of many records, where all have the same fields of the usual types."""
    names = records[0].keys()
    if any(record.keys() != names for record in records) or "prompt" not in names or "correct" not in names:
        return None
    columns: dict[str, Any] = {
        name: [record[name] for record in records] for name in (*FIELDS, *_OPTIONAL) if name in names
    }
    if set(map(type, columns["prompt"])) == {int}:
        columns["prompt"] = list(map(str, columns["prompt"]))
    if set(map(type, columns["prompt"])) != {str}:
        return None
    if not set(map(type, columns["correct"])) <= {bool, int} or not set(columns["correct"]) <= {0, 1}:
        return None
    if not set(map(type, columns.get("answer", ()))) <= {str, type(None)}:
        return None
    columns["correct"] = np.array(columns["correct"], dtype=np.int8)
    for name, kinds in (("score", {int, float}), ("tokens", {int}), ("sample", {int})):
        if name in columns and not set(map(type, columns[name])) <= kinds:
            return None
    try:
        for name in ("score", "tokens", "sample"):
            if name in columns:
                columns[name] = np.array(columns[name], dtype=np.int64 if name == "sample" else np.float64)
    except OverflowError:
        return None
    score = columns.get("score", np.zeros(0))
    whole = [columns[name] for name in ("tokens", "sample") if name in columns]
    if not np.isfinite(score).all() or any(((one < 0) | (one > fields.LARGEST)).any() for one in whole):
        return None
    return Bulk(**columns)


FORMAT = Format(NAME, detect, read, FIELDS, bulk=bulk)
