r"""``openai``: raw completions of an OpenAI-compatible server (vLLM, SGLang, ...), a line for each request:
``{prompt, choices: [{text} or {message: {content}}]}``; lines of a batch, ``{custom_id, response: {body: {choices}}}``;
and vLLM's and SGLang's own ``{prompt, outputs: [{text}]}``.

Nothing labels them: the true answer is in the line (``answer``, ``target``, ``gold``, ...) or in the file of
``--gold``. The answer is in the last ``\boxed{}``, unless ``--extract`` says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .. import fields
from ..answers import boxed
from ..log import Item, Record, Sample
from .base import Format

NAME = "openai"
FIELDS = ("choices",)

NAMES = ("custom_id", "prompt_id", "question_id", "task_id", "unique_id", "prompt", "question", "problem", "id")
"""Fields that may name the prompt, the best first."""

TRUTHS = ("truth", "gold", "target", "ground_truth", "gt_answer", "answer", "expected_answer")


def detect(record: Record) -> bool:
    """Whether a record is of this format."""
    return isinstance(_body(record).get("choices"), list) or isinstance(record.get("outputs"), list)


def read(record: Record) -> Iterator[Item]:
    """The choices of a request."""
    body = _body(record)
    name = fields.first(record, NAMES)
    if name is None or (name == "id" and str(record["id"]).startswith(("chatcmpl-", "cmpl-"))):
        raise ValueError(
            "prompt: expected a field that names the prompt, got none; add one to every line, or name it with "
            "--field prompt=..."
        )
    truth = fields.first(record, TRUTHS)
    source, key = (body, "choices") if "choices" in body else (record, "outputs")
    choices = fields.required(source, key, "the completions of a request")
    if not isinstance(choices, list):
        raise ValueError(f"{key}: expected a list, got {choices!r:.40}")
    usage = body.get("usage")
    for choice in choices:
        text = _text(choice)
        yield Sample(
            fields.text(record, name),
            fields.to_flag("correct", record["correct"]) if isinstance(record.get("correct"), (bool, int)) else None,
            None if text is None else boxed(text),
            tokens=_tokens(choice, usage if len(choices) == 1 else None),
            truth=None if truth is None else fields.text(record, truth),
            text=text or "",
        )


def _body(record: Record) -> Record:
    response = record.get("response")
    body = response.get("body", response) if isinstance(response, dict) else record
    return body if isinstance(body, dict) else record


def _text(choice: Any) -> str | None:
    if not isinstance(choice, dict):
        raise ValueError(f"choices: expected texts or messages, got {choice!r:.60}")
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"choices: expected a text, got {text!r:.60}")
    return text


def _tokens(choice: Record, usage: Any) -> float:
    for source, name in ((usage, "completion_tokens"), (choice.get("meta_info"), "completion_tokens")):
        if isinstance(source, dict) and name in source:
            return fields.to_length(name, source[name])
    tokens = choice.get("token_ids")
    return float(len(tokens)) if isinstance(tokens, list) else math.nan


FORMAT = Format(NAME, detect, read, FIELDS)
