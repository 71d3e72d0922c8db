"""``search-and-learn``: the logs of Hugging Face's search-and-learn, a line for each problem with all its
completions: ``{problem, answer, completions}`` and, if known, ``scores`` or ``agg_scores``, ``completion_tokens``."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .. import fields
from ..answers import boxed as boxed
from ..log import Item, Record, Sample
from .base import Format

NAME = "search-and-learn"
FIELDS = ("completions", "answer")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def read(record: Record) -> Iterator[Item]:
    """The completions of a record; the answer in the last box of each is compared with the true one."""
    prompt = fields.text(record, "unique_id" if "unique_id" in record else "problem")
    completions = fields.values(record, "completions")
    truth = fields.text(record, "answer")
    scores, steps = _scores(record, len(completions))
    for completion, score, own, length in zip(completions, scores, steps, _lengths(record, len(completions))):
        if not isinstance(completion, str):
            raise ValueError(f"completions: expected texts, got {completion!r:.60}")
        yield Sample(prompt, None, boxed(completion), score, length, truth=truth, steps=own, text=completion)


def _lengths(record: Record, count: int) -> list[float | None]:
    """Tokens of every completion; diverse verifier tree search writes -1 for all: not counted."""
    lengths = record.get("completion_tokens")
    if lengths is None:
        return [None] * count
    if not isinstance(lengths, list):
        lengths = [lengths] * count if lengths in (-1, -1.0) else fields.values(record, "completion_tokens", count)
    if len(lengths) != count:
        fields.values(record, "completion_tokens", count)
    return [fields.to_length("completion_tokens", length) for length in lengths]


def _scores(record: Record, count: int) -> tuple[list[float | None], list[list[float] | None]]:
    """Of every completion the score, if the log has one, and those of its steps; NaN where it was not scored."""
    known = record.get("agg_scores")
    one: list[float | None] = [None] * count
    steps: list[list[float] | None] = [None] * count
    if known:
        one = [fields.to_number("agg_scores", score) for score in fields.values(record, "agg_scores", count)]
    if record.get("scores"):
        found = [[] if score is None else score for score in fields.values(record, "scores", count)]
        steps = [fields.to_steps("scores", score) for score in found]
        if not known:
            one = [None if own else math.nan for own in steps]
    elif not known and "scores" in record:
        one = [math.nan] * count
    return one, steps


FORMAT = Format(NAME, detect, read, FIELDS)
