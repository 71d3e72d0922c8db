"""``lm-eval``: the ``samples_*.jsonl`` of lm-evaluation-harness, a line for each document under one filter:
``{doc_id, doc_hash, filtered_resps, metrics, filter}``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import fields
from ..answers import boxed, given
from ..log import Item, Note, PromptCounts, Record, Sample
from .base import Format
from .labels import labelled

NAME = "lm-eval"
FIELDS = ("doc_id", "filtered_resps")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def filter_of(record: Record) -> str:
    """The filter that made a record; ``"none"``, as lm-eval calls it, where there is no such field."""
    return fields.text(record, "filter") if "filter" in record else "none"


def read(record: Record) -> Iterator[Item]:
    """The responses of a record. The metric labels the only response that the filter left; of several responses
    lm-eval keeps one metric, see :mod:`ttc_fast.logs.formats.labels`."""
    prompt = _identity(record)
    answers = _flat(fields.values(record, "filtered_resps"))
    if not answers or not all(answer is None or isinstance(answer, str) for answer in answers):
        raise ValueError(f"filtered_resps: expected generated texts, got {answers!r:.60}")
    default = [name for name in ("exact_match", "acc") if name in record]
    metrics = fields.values(record, "metrics") if "metrics" in record else default
    if not metrics or not isinstance(metrics[0], str):
        raise ValueError("metrics: expected the name of a metric, got none")
    yield from _dropped(record, len(answers))
    answers = [None if answer in (None, "", "[invalid]") else answer for answer in answers]
    if len(answers) == 1:
        label = fields.flag(record, metrics[0], "0 or 1")
        yield Sample(prompt, label, _answer(answers[0]), truth=_target(record), text=answers[0])
        return
    value = fields.required(record, metrics[0], "a number")
    found = labelled(answers, _target(record), metrics[0], value)
    if type(found) is int:
        yield PromptCounts(prompt, len(answers), found)
        return
    assert type(found) is tuple
    for label, answer, text in zip(*found, answers):
        yield Sample(prompt, label, _answer(answer), text=text)


def _identity(record: Record) -> str:
    """doc_id counts from 0 in every task, so the hash of the document, or else the target, belongs to it."""
    name = fields.text(record, "doc_id")
    task = fields.first(record, ("task", "task_name"))
    if task is not None:
        name = f"{fields.text(record, task)}/{name}"
    proof = fields.first(record, ("doc_hash", "prompt_hash", "target_hash", "target"))
    return name if proof is None else f"{name} {proof} {record[proof]!s:.40}"


def _target(record: Record) -> str | None:
    target = record.get("target")
    return target.strip() if isinstance(target, str) else None if target is None else str(target)


def _answer(text: str | None) -> str | None:
    """What stands in the box of a whole generation; else the response as it is."""
    if text is None:
        return None
    inner = boxed(text) if "\\boxed" in text or "\\fbox" in text else text
    return given(None if inner is None else inner.strip())


def _flat(values: list[Any]) -> list[Any]:
    while len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    return values


def _dropped(record: Record, kept: int) -> Iterator[Note]:
    responses = record.get("resps")
    if isinstance(responses, list):
        made = len(_flat(responses))
        if made > kept:
            yield Note(
                f"{made - kept} of {made} responses of {{count}} documents were dropped by the filter before lm-eval "
                "logged them, and are not counted; log them with a filter that keeps all"
            )


FORMAT = Format(NAME, detect, read, FIELDS, filter_of=filter_of)
