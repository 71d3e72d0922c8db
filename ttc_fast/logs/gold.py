"""The file of ``--gold``: the true answer of every prompt."""

from __future__ import annotations

import os

from . import fields
from .records import text_records
from .sources import opened

NAMES = ("prompt", "id", "custom_id", "task_id", "unique_id", "question_id", "doc_id", "problem", "question")
TRUTHS = ("answer", "gold", "target", "truth", "ground_truth", "expected_answer", "gt_answer", "solution")


def read_gold(path: str | os.PathLike[str]) -> dict[str, str]:
    """The true answers by prompt, of a JSON object ``{prompt: answer}``, or of JSON lines or CSV with both.

    Args:
        path: of the file.

    Returns:
        The answers.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else; the message names file, line and field.
    """
    name, result = os.fspath(path), {}
    with opened(name) as (file, _):
        for place, record in text_records(file, name):
            try:
                if isinstance(record, ValueError):
                    raise record
                prompt, truth = fields.first(record, NAMES), fields.first(record, TRUTHS)
                if prompt is not None and truth is not None:
                    result[fields.text(record, prompt)] = fields.text(record, truth)
                elif not result and all(isinstance(value, (str, int, float)) for value in record.values()):
                    result = {str(key): fields.to_text(str(key), value) for key, value in record.items()}
                else:
                    raise ValueError(f"expected a prompt and its answer, got {', '.join(map(str, record))[:200]}")
            except ValueError as error:
                raise ValueError(f"{name}: {place}: gold: {error}") from None
    if not result:
        raise ValueError(f"{name}: gold: expected the answer of every prompt, got none")
    return result
