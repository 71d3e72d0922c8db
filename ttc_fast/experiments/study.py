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
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..estimators.arrays import Array
from ..estimators.table import Key, Table
from ..numerics import check, rng
from ..numerics.files import open_input, write
from ..numerics.progress import Report, reporting
from .config import RunConfig
from .files import finite
from .run import run

FOLDER = Path(__file__).parent / "studies"

PART = 128
"""Prompts of a part: what an interruption costs at most."""


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


@dataclass(frozen=True)
class Reproduction:
    """What :func:`reproduce` found."""

    study: Study
    prompts: int
    tables: Mapping[str, Table]
    """By name of the run."""
    wall_time: float
    """Seconds, of this call: parts that were there already took none."""

    def records(self) -> list[dict[str, Any]]:
        """For each published figure, and each difference of two, a dictionary: the fields about it, ``steps``,
        ``quantity``, ``published``, ``ours``, ``standard_error``, ``law`` (the exact expectation given the prompts,
        None without one), and ``z``: ours minus the published in standard errors of that; their prompts are others."""
        return [record for one in self.study.runs for row in one.rows for record in self._row(one, row)]

    def _row(self, one: StudyRun, row: Row) -> list[dict[str, Any]]:
        table = self.tables[one.name]
        ours: dict[str, Array] = {}
        laws: dict[str, Array | None] = {}
        for quantity, (technique, samples, _) in row.values.items():
            kind = table.keys[0].coefficients
            key = Key(kind, technique, row.steps, samples, one.metric)
            ours[quantity] = table[key]
            laws[quantity] = None if table.theory is None else table.theory[table.keys.index(key)]
        published = {quantity: value for quantity, (_, _, value) in row.values.items()}
        found = [self._record(row, q, published[q], ours[q], laws[q]) for q in ours]
        for one_of, other in one.differences:
            if one_of in ours and other in ours:
                first, second = laws[one_of], laws[other]
                law = None if first is None or second is None else first - second
                found.append(
                    self._record(
                        row,
                        f"{one_of} - {other}",
                        published[one_of] - published[other],
                        ours[one_of] - ours[other],
                        law,
                    )
                )
        return found

    def _record(self, row: Row, quantity: str, published: float, ours: Array, law: Array | None) -> dict[str, Any]:
        spread = float(ours.std(ddof=1)) if len(ours) > 1 else math.nan
        known = law is not None and not np.isnan(law).any()
        distance = spread * math.sqrt(1 / len(ours) + 1 / self.study.prompts)
        return finite(
            {
                **row.about, "steps": row.steps, "quantity": quantity, "published": published,
                "ours": float(ours.mean()), "standard_error": spread / math.sqrt(len(ours)),
                "law": float(law.mean()) if law is not None and known else None,
                "z": (float(ours.mean()) - published) / distance if distance else math.nan,
            }
        )  # fmt: skip

    def squared_error_checks(self) -> dict[str, tuple[int, float]]:
        """By name of the run: how many figures have a law, and the largest distance from it in standard errors."""
        checks = {name: table.theory_checks().values() for name, table in self.tables.items()}
        return {
            name: (len(found), max(abs(one.z) for one in found if math.isfinite(one.z)))
            for name, found in checks.items()
            if any(math.isfinite(one.z) for one in found)
        }


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


def reproduce(
    study: Study, *, prompts: int | None = None, folder: Path | None = None, progress: bool | Report = False
) -> Reproduction:
    """Do the runs of a study, in parts of :data:`PART` prompts that are kept, so that an interrupted study goes on.

    Args:
        study: of :func:`load_study`.
        prompts: of each run; default as many as published.
        folder: where the parts are kept; None: nowhere.
        progress: True, or a function of a stage and the share of it that is done.

    Returns:
        Tables of all runs with their theory; they do not depend on how often the study was interrupted.

    Raises:
        OSError: a part cannot be read or written.
        ValueError: the folder holds parts of other settings, or the settings are refused.

    >>> import dataclasses
    >>> few = dataclasses.replace(load_study("2508.07571"), runs=load_study("2508.07571").runs[:1])
    >>> settings = dataclasses.replace(few.runs[0].config, samples=10, budgets=(1, 10), steps=(100,))
    >>> values = {"N10": ("mean", 10, 1.42062)}
    >>> rows = (dataclasses.replace(few.runs[0].rows[0], values=values),)
    >>> few = dataclasses.replace(few, runs=(dataclasses.replace(few.runs[0], config=settings, rows=rows),))
    >>> [round(record["published"], 3) for record in reproduce(few, prompts=4).records()]
    [1.421]
    """
    began = time.perf_counter()
    count = study.prompts if prompts is None else check.integer("prompts", prompts, 1, 2**32)
    tables = {}
    with reporting(progress) as report:
        for one in study.runs:
            place = None if folder is None else _place(folder / one.name, one.config)
            tables[one.name] = _table(one, count, place, lambda share, name=one.name: report(name, share))  # type: ignore[misc]
    return Reproduction(study, count, tables, time.perf_counter() - began)


def _place(folder: Path, config: RunConfig) -> Path:
    """The folder of a run's parts, which all have the same settings.

    Raises:
        ValueError: those that are there have others.
    """
    settings = {"rng_layout": rng.LAYOUT, "settings": dataclasses.asdict(config)}
    text, file = json.dumps(settings, indent=1, default=str) + "\n", folder / "settings.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        write(file, text, "folder")
    elif file.read_text(encoding="utf-8") != text:
        raise ValueError(f"folder: expected parts of the same settings in {folder}, got others; take another folder")
    return folder


def _table(one: StudyRun, count: int, place: Path | None, report: Callable[[float], None]) -> Table:
    parts = []
    for start in range(0, count, PART):
        size = min(PART, count - start)
        file = None if place is None else place / f"{start:08d}-{start + size:08d}.parquet"
        if file is not None and file.exists():
            parts.append(Table.load(file))
        else:
            parts.append(run(dataclasses.replace(one.config, first_prompt=start, prompts=size)).table)
            if file is not None:
                parts[-1].save(file)
        report((start + size) / count)
    return Table.concat(parts)


def document(found: Reproduction) -> str:
    """A reproduction as JSON."""
    study = found.study
    head: dict[str, Any] = {
        "study": study.name, "title": study.title, "source": study.source, "unknown": list(study.unknown),
        "ttc_fast": __version__, "rng_layout": rng.LAYOUT, "prompts": found.prompts, "wall_time": found.wall_time,
    }  # fmt: skip
    return json.dumps({**head, "records": found.records()}, indent=1, allow_nan=False) + "\n"


def quick(prompts: int) -> int:
    """A tenth of the prompts, at least one."""
    return max(1, prompts // 10)


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
