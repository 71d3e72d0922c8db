"""The formats of logs, one file for each: ``detect`` says whether a record is of the format, ``read`` gives its
samples."""

from __future__ import annotations

from ..log import Record
from . import (
    bigcode,
    counts,
    evalplus,
    human_eval,
    inspect_ai,
    lighteval,
    livecodebench,
    lm_eval,
    matrix,
    monkeys,
    nemo_skills,
    openai,
    plain,
    search_and_learn,
    verl,
)
from .base import Format

__all__ = ["FORMATS", "Format", "detect", "formats_of_file"]

_MODULES = (
    plain, counts, openai, search_and_learn, lm_eval, human_eval, evalplus, bigcode, inspect_ai, lighteval, nemo_skills,
    verl, monkeys, livecodebench, matrix,
)  # fmt: skip

FORMATS: dict[str, Format] = {module.FORMAT.name: module.FORMAT for module in _MODULES}
"""Every format that is known by name. Files of unknown format are compared with the last one first."""


def formats_of_file(start: bytes) -> list[Format]:
    """The formats that a file may have by its first bytes: those of its kind, or else those of text."""
    binary = [format for format in FORMATS.values() if format.first_bytes and start.startswith(format.first_bytes)]
    candidates = binary or [format for format in FORMATS.values() if not format.first_bytes]
    return candidates[::-1]


def detect(record: Record, candidates: list[Format]) -> Format:
    """The first of the candidates that the record is of.

    Args:
        record: the first of a file that can be parsed.
        candidates: of the file, by :func:`formats_of_file`.

    Raises:
        ValueError: it is of none of them.
    """
    for format in candidates:
        if format.detect(record):
            return format
    known = "; ".join(f"{format.name}: {', '.join(format.fields)}" for format in candidates)
    raise ValueError(
        f"expected the fields of a known format ({known}), got {', '.join(map(str, record))[:200]}; name yours with "
        "--field prompt=... correct=..."
    )
