"""``nemo-skills``: the ``output-rs*.jsonl`` of NVIDIA's NeMo-Skills, a line for each problem in a file for each seed:
``{problem, expected_answer, predicted_answer}`` with ``symbolic_correct`` (before ``is_correct``) or ``judgement`` and,
if known, ``reward_model_score``, ``num_generated_tokens``."""

from __future__ import annotations

from collections.abc import Iterator

from .. import fields
from ..log import Item, Record, Sample
from .base import Format

NAME = "nemo-skills"
FIELDS = ("predicted_answer", "expected_answer")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def read(record: Record) -> Iterator[Item]:
    """The one sample of a record; without a label the answers are compared."""
    name = fields.first(record, ("id", "problem", "question"))
    label: bool | None = None
    verdict = fields.first(record, ("symbolic_correct", "is_correct", "correct"))
    if verdict is not None:
        label = fields.flag(record, verdict)
    elif isinstance(record.get("judgement"), str):
        label = _judged(record["judgement"])
    generation = record.get("generation")
    yield Sample(
        fields.text(record, name or "problem"),
        label,
        fields.optional(record, "predicted_answer", fields.to_text),
        fields.optional(record, "reward_model_score", fields.to_number),
        fields.optional(record, "num_generated_tokens", fields.to_length),
        truth=fields.optional(record, "expected_answer", fields.to_text),
        text=generation if isinstance(generation, str) else None,
    )


def _judged(text: str) -> bool:
    """The verdict of a judge, whose last line is ``Judgement: Yes`` or ``No``."""
    verdict = text.rpartition("Judgement:")[2].strip().lower()
    if not verdict.startswith(("yes", "no")):
        raise ValueError(f"judgement: expected one that ends in Judgement: Yes or No, got {text[-40:]!r}")
    return verdict.startswith("yes")


FORMAT = Format(NAME, detect, read, FIELDS)
