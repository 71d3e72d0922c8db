"""``evalplus``: the ``*_eval_results.json`` of EvalPlus: ``{date, hash, eval: {task_id: results}}``.

Since version 0.2 results are a list of ``{solution, base_status, plus_status}``; before they were
``{nfiles, base, plus}`` with lists of ``[status, details]``. A solution is correct if it passes the base tests and,
where they were run, the extra ones, as EvalPlus counts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import fields
from ..log import Item, Note, Record, Sample
from ..records import Records
from .base import Format

NAME = "evalplus"
FIELDS = ("eval", "hash")

_PASSED = ("pass", "success")
_STATUS = (*_PASSED, "fail", "failed", "timeout", "timed out", "error")


def detect(record: Record) -> bool:
    """Whether a document is of this format."""
    return isinstance(record.get("eval"), dict) and "samples" not in record and ("hash" in record or "date" in record)


def expand(record: Record) -> Records:
    """A record for each solution."""
    tasks = fields.required(record, "eval", "results by task")
    if not isinstance(tasks, dict):
        raise ValueError(f"eval: expected results by task, got {tasks!r:.40}")
    for task, results in tasks.items():
        place = f"task {task!s:.40}"
        if isinstance(results, list):
            for one in results:
                yield place, {"task_id": task, **one} if isinstance(one, dict) else ValueError(f"got {one!r:.40}")
        elif isinstance(results, dict) and isinstance(results.get("base"), list):
            plus = results.get("plus") or [None] * len(results["base"])
            if len(plus) != len(results["base"]):
                yield place, ValueError(f"plus: expected {len(results['base'])} results as in base, got {len(plus)}")
                continue
            for base, extra in zip(results["base"], plus):
                yield place, {"task_id": task, "base_status": _first(base), "plus_status": _first(extra)}
        else:
            yield place, ValueError(f"expected a list of results, or base and plus, got {results!r:.40}")


def _first(result: Any) -> Any:
    return result[0] if isinstance(result, list) and result else result


def read(record: Record) -> Iterator[Item]:
    """The one solution of a record."""
    prompt = fields.text(record, "task_id")
    if "correct" in record:  # by --field correct=base_status
        yield Sample(prompt, _passed("correct", record["correct"]))
        return
    passed = _passed("base_status", fields.required(record, "base_status", "a status"))
    if record.get("plus_status") is not None:
        passed = passed & _passed("plus_status", record["plus_status"])
        yield Note(
            "{count} solutions count as correct if they pass the base and the extra tests "
            "(--field correct=base_status: the base tests alone)"
        )
    yield Sample(prompt, passed)


def _passed(name: str, status: Any) -> bool:
    if isinstance(status, str) and status in _STATUS:
        return status in _PASSED
    return fields.to_flag(name, status)


FORMAT = Format(NAME, detect, read, FIELDS, expand=expand)
