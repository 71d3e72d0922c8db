"""Published experiments done again: settings and published figures are data, in ``studies/``, and so is a user's own.

A study is a JSON file: ``title``, ``source``, ``unknown`` (what is not known of the published experiments), ``prompts``
(of the published figures) and ``runs``. A run has a ``name``, fields ``about`` it, ``settings`` of
:class:`ttc_fast.RunConfig`, a ``metric``, ``differences`` between quantities to compare prompt by prompt, perhaps a
``figure``, and ``rows``: ``steps``, ``values`` (for each quantity its technique, samples and published figure), and
fields that differ from those ``about`` the run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..numerics import check
from ..numerics.files import open_input
from .config import RunConfig

FOLDER = Path(__file__).parent / "studies"


@dataclass(frozen=True)
class Row:
    """Published figures of one number of steps."""

    about: Mapping[str, Any]
    steps: int
    values: Mapping[str, tuple[str, int, float]]
    """Quantity -> technique, samples, published figure."""


@dataclass(frozen=True)
class StudyRun:
    """One run of a study."""

    name: str
    config: RunConfig
    metric: str
    rows: tuple[Row, ...]
    differences: tuple[tuple[str, str], ...] = ()
    """Quantities whose difference is looked at prompt by prompt."""
    figure: Mapping[str, Any] | None = None
    """``x``: samples or steps; the ``technique`` of the curves; techniques that are ``levels``."""


@dataclass(frozen=True)
class Study:
    """Published experiments."""

    name: str
    title: str
    source: str
    unknown: tuple[str, ...]
    prompts: int
    """Of the published figures."""
    runs: tuple[StudyRun, ...]


def studies() -> tuple[str, ...]:
    """Names of the studies that come with the library."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def load_study(study: str) -> Study:
    """A study by name, or from a JSON file of one's own.

    Args:
        study: one of :func:`studies`, or a path that ends in ``.json``.

    Raises:
        OSError: the file cannot be read.
        ValueError: the name is unknown, or the file is no study; the message says what is missing.
    """
    if not study.endswith(".json"):
        check.choice("study", study, studies())
    path = Path(study) if study.endswith(".json") else FOLDER / f"{study}.json"
    try:
        with open_input(path) as file:
            document = json.loads(file.read().decode())
        runs = tuple(_run(one) for one in document["runs"])
        return Study(
            path.stem, document["title"], document["source"], tuple(document["unknown"]),
            check.integer("prompts", document["prompts"], 1, 2**32), runs,
        )  # fmt: skip
    except KeyError as error:
        raise ValueError(f"study: expected a field {error} in {path}, got none") from error
    except (TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"study: expected a study as ttc_fast/experiments/study.py describes it, in {path}: {error}"
        ) from error


def _run(document: Mapping[str, Any]) -> StudyRun:
    rows = []
    for row in document["rows"]:
        other = {name: value for name, value in row.items() if name not in ("steps", "values")}
        values = {quantity: (str(t), int(n), float(value)) for quantity, (t, n, value) in row["values"].items()}
        rows.append(Row({**document["about"], **other}, row["steps"], values))
    settings: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in document["settings"].items()
    }
    differences = tuple((a, b) for a, b in document.get("differences", ()))
    return StudyRun(
        document["name"], RunConfig(**settings), document["metric"], tuple(rows), differences, document.get("figure")
    )


def selected(study: Study, names: Sequence[str]) -> Study:
    """Some runs of a study.

    Args:
        study: of :func:`load_study`.
        names: of its runs; none stands for all.

    Raises:
        ValueError: a name is unknown.
    """
    for name in names:
        check.choice("only", name, tuple(one.name for one in study.runs))
    return dataclasses.replace(study, runs=tuple(one for one in study.runs if not names or one.name in names))
