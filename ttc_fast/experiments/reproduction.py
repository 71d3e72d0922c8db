"""Published experiments done again, in parts that survive an interruption, and what is found beside the published."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..estimators.arrays import Array
from ..estimators.table import Key, Table
from ..numerics import check, rng
from ..numerics.progress import Report, reporting
from .config import RunConfig
from .files import finite
from .shards import Block, Store, joined, missing
from .study import Row, Study, StudyRun
from .sweep_run import Runs, compute
from .work import key_of, used_isa

PART = 128
"""Prompts of a part: what an interruption costs at most."""


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
        None without one), and ``z``: ours minus the published in standard errors of that. Their prompts are others, and
        they had one trial of each prompt where ours is a mean over many."""
        return [record for one in self.study.runs for row in one.rows for record in self._row(one, row)]

    def _row(self, one: StudyRun, row: Row) -> list[dict[str, Any]]:
        table = self.tables[one.name]
        figures: dict[str, _Figure] = {}
        for quantity, (technique, samples, published) in row.values.items():
            key = Key(table.keys[0].coefficients, technique, row.steps, samples, one.metric)
            law = None if table.theory is None else table.theory[table.keys.index(key)]
            known = law is not None and not np.isnan(law).any()
            figures[quantity] = _Figure(published, table[key], law if known else None, _within(table, key, one.config))
        for first, second in one.differences:
            if first in figures and second in figures:
                figures[f"{first} - {second}"] = figures[first] - figures[second]
        return [self._record(row, quantity, figure) for quantity, figure in figures.items()]

    def _record(self, row: Row, quantity: str, figure: _Figure) -> dict[str, Any]:
        ours, mean = figure.ours, float(figure.ours.mean())
        between = float(ours.var(ddof=1)) if len(ours) > 1 else math.nan
        distance = math.sqrt(between / len(ours) + (between + float(figure.within.mean())) / self.study.prompts)
        return finite(
            {
                **row.about, "steps": row.steps, "quantity": quantity, "published": figure.published,
                "ours": mean, "standard_error": math.sqrt(between / len(ours)),
                "law": None if figure.law is None else float(figure.law.mean()),
                "z": (mean - figure.published) / distance if distance else math.nan,
            }
        )  # fmt: skip

    def squared_error_checks(self) -> dict[str, tuple[int, float]]:
        """By name of the run: how many figures have a law, and the largest distance from it in standard errors: theirs
        in theory, or, where the law gives no variance, of the spread over prompts."""
        checks = {name: table.theory_checks().values() for name, table in self.tables.items()}
        distances = {
            name: [abs(one.t if math.isnan(one.z) else one.z) for one in found] for name, found in checks.items()
        }
        known = {name: [one for one in found if math.isfinite(one)] for name, found in distances.items()}
        return {name: (len(checks[name]), max(found)) for name, found in known.items() if found}


@dataclass(frozen=True, eq=False)
class _Figure:
    """A published figure and ours, prompt by prompt."""

    published: float
    ours: Array
    law: Array | None
    within: Array
    """Variance of one trial given its prompt."""

    def __sub__(self, other: _Figure) -> _Figure:
        law = None if self.law is None or other.law is None else self.law - other.law
        return _Figure(self.published - other.published, self.ours - other.ours, law, self.within + other.within)


def _within(table: Table, key: Key, config: RunConfig) -> Array:
    """Variance of one trial of each prompt, from the mean of its square: what is 0 or 1 is its own, and the error
    norm's is the squared error. Of other metrics it is not known, and taken as 0."""
    mean = table[key]
    if key.metric == "exact_recovery":
        return np.asarray(mean * (1 - mean))
    squared = key._replace(metric="squared_error")
    if key.metric != "error_norm" or squared not in table or config.dim is None:
        return np.zeros_like(mean)
    return np.maximum(config.dim * table[squared] - mean**2, 0.0)


def reproduce(
    study: Study, *, prompts: int | None = None, folder: Path | None = None, progress: bool | Report = False
) -> Reproduction:
    """Do the runs of a study, in shards of :data:`PART` prompts that are kept, so that an interrupted study goes on.

    Args:
        study: of :func:`load_study`.
        prompts: of each run; default as many as published.
        folder: where the parts are kept; None: nowhere.
        progress: True, or a function of a stage and the share of it that is done.

    Returns:
        Tables of all runs with their theory; they do not depend on how often the study was interrupted.

    Raises:
        OSError: a part cannot be read or written.
        ValueError: the settings are refused, or a part is damaged.

    >>> import dataclasses
    >>> from ttc_fast.experiments.study import load_study
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
    with reporting(progress) as report, tempfile.TemporaryDirectory() as nowhere:
        store = Store(nowhere if folder is None else folder)
        for one in study.runs:
            tables[one.name] = _table(one, count, store, lambda share, name=one.name: report(name, share))  # type: ignore[misc]
    return Reproduction(study, count, tables, time.perf_counter() - began)


def _table(one: StudyRun, count: int, store: Store, report: Callable[[float], None]) -> Table:
    whole = Block(key_of(Runs().work(one.config), used_isa()), 0, count)
    there = [shard.block for shard in store.listed(whole.key)]
    for start in range(0, count, PART):
        stop = min(start + PART, count)
        for part in missing(Block(whole.key, start, stop), there):
            store.save(compute(one.config, part.start, part.stop), part)
        report(stop / count)
    return joined(store, whole)


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
