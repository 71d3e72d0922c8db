"""``monkeys``: Large Language Monkeys (arXiv 2407.21787), a YAML file or a row of the published data for each problem:
``{question, samples, is_corrects}`` and, if known, ``gt_answer``, ``orig_dset_idx``, ``name``, ``theorem_name``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .. import fields
from ..answers import boxed
from ..log import Item, Record, Sample
from .base import Format

NAME = "monkeys"
FIELDS = ("samples", "is_corrects")

_ANSWER = re.compile(r"####\s*(\S+)|final answer is:?\s*\$?(.+?)\$?\.\s*I hope", re.IGNORECASE)


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return "samples" in record and ("is_corrects" in record or "is_correct" in record)


def read(record: Record) -> Iterator[Item]:
    """The samples of a problem; programs and proofs have no answer."""
    name = fields.first(record, ("theorem_name", "name", "orig_dset_idx", "question", "prompt"))
    prompt = fields.text(record, name or "question")
    if name == "orig_dset_idx" and record.get("orig_dset_split") is not None:
        prompt = f"{fields.text(record, 'orig_dset_split')} {prompt}"
    texts = fields.values(record, "samples")
    labels = fields.values(record, "is_corrects" if "is_corrects" in record else "is_correct", len(texts))
    truth = record.get("gt_answer")
    for text, label in zip(texts, labels):
        if not isinstance(text, str):
            raise ValueError(f"samples: expected texts, got {text!r:.60}")
        answer = None if truth is None else _answer(text)
        yield Sample(
            prompt,
            fields.to_flag("is_corrects", label),
            answer,
            truth=None if truth is None else _answer(str(truth)) or str(truth),
            text=text,
        )


def _answer(text: str) -> str | None:
    """As their graders take it: behind ``####`` or in the final answer, or else in a box."""
    found = _ANSWER.search(text)
    return (found[1] or found[2]) if found else boxed(text)


FORMAT = Format(NAME, detect, read, FIELDS)
