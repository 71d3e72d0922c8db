"""``search-and-learn``: the logs of Hugging Face's search-and-learn, a line for each problem with all its
completions: ``{problem, answer, completions}`` and, if known, ``scores`` or ``agg_scores``, ``completion_tokens``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import fields
from ..log import PromptCounts, Record, Sample
from .base import Format

NAME = "search-and-learn"
FIELDS = ("completions", "answer")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return fields.has(record, FIELDS)


def read(record: Record) -> Iterator[Sample | PromptCounts]:
    """The completions of a record; an answer is correct if it is the same string as the true one, formatting
    aside."""
    prompt = fields.text(record, "unique_id" if "unique_id" in record else "problem")
    completions = fields.values(record, "completions")
    truth = normalized(fields.text(record, "answer"))
    scores = _scores(record, len(completions))
    tokens: list[Any] = [None] * len(completions)
    if "completion_tokens" in record:
        tokens = fields.values(record, "completion_tokens", len(completions))
    for completion, score, length in zip(completions, scores, tokens):
        if not isinstance(completion, str):
            raise ValueError(f"completions: expected texts, got {completion!r:.60}")
        answer = boxed(completion)
        yield Sample(
            prompt,
            answer is not None and normalized(answer) == truth,
            None if answer is None else normalized(answer),
            None if score is None else fields.to_number("scores", score),
            None if length is None else fields.to_whole("completion_tokens", length),
        )


def _scores(record: Record, count: int) -> list[Any]:
    """Of every completion; where every step has a score, the last one counts."""
    if "agg_scores" in record:
        return fields.values(record, "agg_scores", count)
    if "scores" not in record:
        return [None] * count
    return [
        steps[-1] if isinstance(steps, list) and steps else steps for steps in fields.values(record, "scores", count)
    ]


def boxed(text: str) -> str | None:
    r"""What stands in the last ``\boxed{...}`` of a solution, braces matched; None if there is none.

    >>> boxed(r"so \boxed{1}, no: \boxed{x^{2}}.")
    'x^{2}'
    """
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start, depth = start + len("\\boxed{"), 1
    for i in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start:i]
    return None


def normalized(answer: str) -> str:
    r"""An answer without spaces, dollar signs, a final full stop and the sizes of LaTeX's brackets.

    >>> normalized(r"$\left( \dfrac{1}{2} \right)$.")
    '(\\frac{1}{2})'
    """
    for left_out in ("\\left", "\\right", "\\!", "\\,", "\\;", "$", " "):
        answer = answer.replace(left_out, "")
    return answer.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").rstrip(".")


FORMAT = Format(NAME, detect, read, FIELDS)
