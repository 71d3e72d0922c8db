"""How a log is to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from ..numerics import check
from .answers import Equal, check_math, extractor
from .log import Record

Aggregate: TypeAlias = Literal["last", "min", "prod", "mean"]
"""What makes one score of the scores of a solution's steps."""


@dataclass(frozen=True)
class Reading:
    """What a user may ask of the reader; see :func:`ttc_fast.logs.reader.read`."""

    filter: str | None = None
    skip_bad: bool = False
    equal: Equal = "normalised"
    extract: str | None = None
    gold: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    aggregate: Aggregate | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        check.choice("equal", self.equal, get_args(Equal))
        if self.aggregate is not None:
            check.choice("aggregate", self.aggregate, get_args(Aggregate))
        if self.extract is not None:
            extractor(self.extract)
        if self.equal == "math":
            check_math()

    def renamed(self, record: Record) -> Record:
        """The record with the fields that the user names otherwise.

        Raises:
            ValueError: it has no field of that name.
        """
        return record | {name: lookup(record, place) for name, place in self.fields.items()}


def lookup(record: Record, place: str) -> Any:
    """A field of a record, or of a record in it: ``"model"``, ``"config.model"``.

    Args:
        record: of a file.
        place: the name of the field.

    Raises:
        ValueError: there is none.

    >>> lookup({"a": {"b": 1}}, "a.b")
    1
    """
    value: Any = record
    for part in [place] if place in record else place.split("."):
        if not isinstance(value, dict) or part not in value:
            raise ValueError(f"{place}: expected a field of that name, got {', '.join(map(str, record))[:200]}")
        value = value[part]
    return value


def fields_of(pairs: Sequence[str]) -> dict[str, str]:
    """``answer=COLUMN`` and the like, by name.

    Args:
        pairs: of the command line.

    Raises:
        ValueError: one is no such pair.

    >>> fields_of(["answer=output"])
    {'answer': 'output'}
    """
    result = {}
    for pair in pairs:
        name, equals, place = pair.partition("=")
        if not (name and equals and place):
            raise ValueError(f"field: expected NAME=COLUMN, such as answer=output, got {pair!r}")
        result[name] = place
    return result


def aggregated(steps: Sequence[float], how: Aggregate) -> float:
    """One score of the scores of a solution's steps.

    Args:
        steps: at least one.
        how: which.

    >>> [aggregated([0.5, 0.2], how) for how in ("last", "min", "prod", "mean")]
    [0.2, 0.2, 0.1, 0.35]
    """
    if how == "last":
        return float(steps[-1])
    if how == "min":
        return float(min(steps))
    return math.prod(steps) if how == "prod" else math.fsum(steps) / len(steps)
