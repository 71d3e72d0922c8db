"""The check of samples that a function is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as fields_of
from typing import Any

from ..numerics import check
from .log import SampleLog


def check_reading(paths: Any, format: Any, skip_bad: Any, fields: Any, texts: Mapping[str, Any]) -> list[Any]:
    """The paths to be read, or the error of the first argument that is of the wrong kind.

    Args:
        paths, format, skip_bad, fields: as of :func:`ttc_fast.logs.reader.read`.
        texts: other arguments, each text or None.

    Raises:
        TypeError, ValueError: one is of another kind.
    """
    if format is not None and not isinstance(format, str):
        check.has("format", format, ("name", "detect", "read", "by_row"), "a name or a Format")
        for part in ("detect", "read", "records"):
            check.function(f"format: {part}", getattr(format, part, None))
    check.flag("skip_bad", skip_bad)
    for name, text in texts.items():
        if text is not None:
            check.text(name, text)
    if fields is not None:
        check.has("fields", fields, ("items",), "a mapping from our names to those of the records")
        for ours, theirs in fields.items():
            check.text("fields", ours)
            check.text("fields", theirs)
    found = check.listed("paths", paths, "a sequence of paths")
    for path in found:
        check.path("paths", path)
    return found


def asked_budgets(budgets: Any) -> list[int]:
    """The k that are asked for; none for None.

    Raises:
        TypeError: they are no integers.
    """
    if budgets is None:
        return []
    return [check.integer("budgets", k, -(2**63), 2**63) for k in check.listed("budgets", budgets, "integers")]


def check_log(name: str, log: Any) -> None:
    """Nothing, if ``log`` has what a :class:`~ttc_fast.logs.log.SampleLog` has, and a sample.

    Args:
        name: of the argument, for the error.
        log: as given.

    Raises:
        TypeError, ValueError: it has not.
    """
    needed = [*(field.name for field in fields_of(SampleLog)), "banks"]
    check.has(name, log, needed, "samples as ttc_fast.read gives them")
    if not hasattr(log.samples, "min") or not len(log.samples):
        raise ValueError(f"{name}: expected at least one prompt with samples, got {check.shown(log.samples)}")
