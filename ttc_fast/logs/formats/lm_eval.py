"""``lm-eval``: the ``samples_*.jsonl`` of lm-evaluation-harness, a line for each document under one filter:
``{doc_id, filtered_resps, metrics, filter}``."""

from __future__ import annotations

from collections.abc import Iterator

from .. import fields
from ..log import PromptCounts, Record, Sample
from .base import Format

NAME = "lm-eval"
FIELDS = ("doc_id", "filtered_resps")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def filter_of(record: Record) -> str:
    """The filter that made a record; ``"none"``, as lm-eval calls it, where there is no such field."""
    return fields.text(record, "filter") if "filter" in record else "none"


def read(record: Record) -> Iterator[Sample | PromptCounts]:
    """The responses of a record. The metric labels the only response that the filter left; of several responses
    lm-eval keeps no label, so each is compared with the target."""
    prompt = fields.text(record, "doc_id")
    answers = fields.values(record, "filtered_resps")
    while len(answers) == 1 and isinstance(answers[0], list):
        answers = answers[0]
    default = [name for name in ("exact_match", "acc") if name in record]
    metrics = fields.values(record, "metrics") if "metrics" in record else default
    if not metrics or not isinstance(metrics[0], str):
        raise ValueError("metrics: expected the name of a metric, got none")
    if not answers or not all(answer is None or isinstance(answer, str) for answer in answers):
        raise ValueError(f"filtered_resps: expected generated texts, got {answers!r:.60}")
    if len(answers) == 1:
        labels = [fields.flag(record, metrics[0], "0 or 1")]
    else:
        target = fields.text(record, "target").strip()
        labels = [answer is not None and answer.strip() == target for answer in answers]
    for answer, correct in zip(answers, labels):
        yield Sample(prompt, correct, None if answer in (None, "", "[invalid]") else answer.strip())


FORMAT = Format(NAME, detect, read, FIELDS, filter_of=filter_of)
