"""The check of samples that a function is given."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ..numerics import check
from .log import SampleLog


def check_log(name: str, log: Any) -> None:
    """Nothing, if ``log`` has what a :class:`~ttc_fast.logs.log.SampleLog` has, and a sample.

    Args:
        name: of the argument, for the error.
        log: as given.

    Raises:
        TypeError, ValueError: it has not.
    """
    needed = [*(field.name for field in fields(SampleLog)), "banks"]
    check.has(name, log, needed, "samples as ttc_fast.read gives them")
    if not hasattr(log.samples, "min") or not len(log.samples):
        raise ValueError(f"{name}: expected at least one prompt with samples, got {check.shown(log.samples)}")
