"""``verl``: the dumps of generations of verl's trainers (``trainer.validation_data_dir``, ``rollout_data_dir``), a line
for each: ``{input, output, score, step}`` and, if the reward function returns them, ``acc``, ``pred``, ``gts``.

``score`` is the reward; it labels the sample where it is 0 or 1, or -1 or 1, and ``acc`` is not there.
"""

from __future__ import annotations

from collections.abc import Iterator

from .. import fields
from ..answers import boxed
from ..log import Item, Record, Sample
from .base import Format

NAME = "verl"
FIELDS = ("input", "output", "score")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def read(record: Record) -> Iterator[Item]:
    """The one sample of a record."""
    output = fields.text(record, "output")
    reward = fields.to_number("score", record["score"])
    if record.get("acc") is not None:
        label = fields.flag(record, "acc")
    elif reward in (-1.0, 0.0, 1.0):
        label = reward == 1.0
    else:
        raise ValueError(
            f"score: expected 0 or 1, or a field acc that says what is correct, got {record['score']!r:.20}"
        )
    answer = fields.optional(record, "pred", fields.to_text) if "pred" in record else boxed(output)
    truth = record.get("gts")
    yield Sample(
        fields.text(record, "input"),
        label,
        None if answer == "[INVALID]" else answer,
        truth=truth if isinstance(truth, str) else None,
        text=output,
    )


FORMAT = Format(NAME, detect, read, FIELDS)
