"""``lighteval``: the details of Hugging Face's lighteval, Parquet with a row for each document.

Since version 0.10 ``{doc, model_response, metric}``; before ``{predictions, gold, metrics, full_prompt}``, where lists
may be written as texts. A row has one value of each metric, also where there are several predictions: see
:mod:`ttc_fast.logs.formats.labels`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from .. import fields
from ..answers import boxed, given
from ..log import Item, PromptCounts, Record, Sample
from .base import Format
from .labels import labelled

NAME = "lighteval"
FIELDS = ("doc", "model_response", "metric")

_OLD = ("predictions", "metrics")
_FIRST = ("exact_match", "extractive_match", "pass@", "em", "qem", "quasi_exact_match", "acc")
"""Metrics that label an answer, by the beginning of their names, the best first."""


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS) or fields.has(record, _OLD)


def read(record: Record) -> Iterator[Item]:
    """The predictions of a row."""
    prompt, answers, truth, metrics = _new(record) if "doc" in record else _old(record)
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(f"predictions: expected texts, got {answers!r:.60}")
    known = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    name = next((name for first in _FIRST for name in known if name.startswith(first)), next(iter(known), None))
    if name is None:
        raise ValueError(f"metric: expected a number, got {metrics!r:.60}")
    if len(answers) == 1:
        label = fields.to_flag(name, known[name])
        yield Sample(prompt, label, _answer(answers[0]), truth=truth, text=answers[0])
        return
    found = labelled(answers, truth, name, known[name])
    if type(found) is int:
        yield PromptCounts(prompt, len(answers), found)
        return
    assert type(found) is tuple
    for label, answer, text in zip(*found, answers):
        yield Sample(prompt, label, answer, text=text)


def _answer(text: str) -> str | None:
    return given(boxed(text)) if "\\boxed" in text else given(text)


def _new(record: Record) -> tuple[str, list[Any], str | None, dict[str, Any]]:
    doc, response, metrics = (_mapping(record, name) for name in FIELDS)
    name = fields.first(doc, ("id", "query"))
    prompt = fields.text(doc, name or "id")
    if doc.get("task_name") is not None:
        prompt = f"{fields.text(doc, 'task_name')} {prompt}"
    final = response.get("text_post_processed") or response.get("final_answer") or response.get("text")
    gold = doc.get("gold_index")
    gold = gold[0] if isinstance(gold, list) and gold else gold
    choices = doc.get("choices")
    truth = None
    if isinstance(choices, list) and isinstance(gold, int) and 0 <= gold < len(choices):
        truth = str(choices[gold])
    return prompt, _list("text", final), truth, metrics


def _old(record: Record) -> tuple[str, list[Any], str | None, dict[str, Any]]:
    name = fields.first(record, ("full_prompt", "example", "instruction"))
    gold = _list("gold", record.get("gold") or [])
    metrics = record["metrics"]
    if isinstance(metrics, str):
        metrics = _literal("metrics", metrics)
    if not isinstance(metrics, dict):
        raise ValueError(f"metrics: expected a value for each metric, got {metrics!r:.60}")
    predictions = _list("predictions", record["predictions"])
    while len(predictions) == 1 and isinstance(predictions[0], list):
        predictions = predictions[0]
    return fields.text(record, name or "full_prompt"), predictions, str(gold[0]) if gold else None, metrics


def _mapping(record: Record, name: str) -> Record:
    value = record[name]
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected fields by name, got {value!r:.60}")
    return value


def _list(name: str, value: Any) -> list[Any]:
    if isinstance(value, str) and value.startswith("["):
        value = _literal(name, value)
    return value if isinstance(value, list) else [value]


def _literal(name: str, text: str) -> Any:
    """A list or mapping as Python writes it; nothing is executed."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError(f"{name}: expected a list, got {text!r:.60}") from error


FORMAT = Format(NAME, detect, read, FIELDS)
