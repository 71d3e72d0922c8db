"""The result of a sweep: a table for each of its settings, in one Parquet file that DuckDB, polars and pandas read."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..estimators import table_file
from ..estimators.table import OPTIONAL, Key, Table
from ..estimators.table import UNITS as TABLE_UNITS
from ..estimators.table_checks import values_of
from ..numerics import check, files

if TYPE_CHECKING:
    import pandas
    import xarray

FORMAT = "ttc_fast.SweepTable/1"

OWN = (*Key._fields, "prompt", "value", *OPTIONAL, "settings")
"""Columns that are not settings; one that is called as one of them is a column ``run_NAME``."""

UNITS = {
    "dim": "coefficients", "examples": "in-context examples", "prompts": "prompts", "nonzero": "coefficients",
    "ones": "coefficients", "held_out": "in-context examples", "run_samples": "samples decoded",
    "run_steps": "thoughts asked for", "first": "samples of a prompt", "label_noise": "standard deviation of y",
    "noise_scale": "standard deviation of w", "verifier_noise": "standard deviation of scores",
    "wrong_by": "standard deviation of w", "prior": "standard deviation of w, or probability of a one",
    "false_positive_rate": "probability", "temperature": "1", "step_size": "1", "strength": "1", "ridge": "1",
    "seed": "1", "learning_rate": "1", "iterations": "iterations", "batch": "prompts",
}  # fmt: skip
"""Of what varies."""


class Told(NamedTuple):
    """How the figures of a command are told; see :class:`~ttc_fast.experiments.sweepable.Sweepable`."""

    unit: str = "prompts"
    metrics: Sequence[str] = ("squared_error",)
    units: Mapping[str, str] = {"steps": "thoughts", "samples": "samples a technique may spend"}
    independent: bool = True


def column(name: str) -> str:
    """The column of a setting."""
    return f"run_{name}" if name in OWN else name.replace(".", "_")


@dataclass(frozen=True, eq=False)
class SweepTable:
    """What :func:`ttc_fast.load` returns: tables with what varies between them.

    Args:
        runs: what varies, by name of the column: a setting, or ``run_NAME`` where a column of tables has its name.
        tables: the figures of each run.
        settings: all settings of each run, with every default filled in.
        keys: hashes of the settings.
        facts: version, layout of the random numbers, instruction set.
        told: units and metrics of the command.
    """

    runs: tuple[Mapping[str, Any], ...]
    tables: tuple[Table, ...]
    settings: tuple[Mapping[str, Any], ...]
    keys: tuple[str, ...]
    facts: Mapping[str, Any]
    told: Told = field(default_factory=Told)

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The values of what varies, in their order, by name of the column."""
        return {name: _distinct(run[name] for run in self.runs) for name in (self.runs[0] if self.runs else {})}

    def __repr__(self) -> str:
        axes = "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in self.axes.items())
        return f"SweepTable({len(self.runs)} runs; {axes or 'nothing varies'})"

    def select(self, **wanted: Any) -> SweepTable:
        """The runs and figures that match.

        Args:
            **wanted: a column of ``runs``, or what :meth:`Table.select` takes; each with a value or several.

        Raises:
            TypeError, ValueError: a name is none of these, or nothing has such a value.
        """
        kept = list(range(len(self.runs)))
        for name in [name for name in wanted if name in self.axes]:
            values = values_of(name, wanted[name]) if not isinstance(wanted[name], (float, bool)) else [wanted[name]]
            if isinstance(wanted[name], (list, tuple)):
                values = [*wanted[name], list(wanted[name])]  # several, or one that is a list
            found = [i for i in kept if self.runs[i][name] in values]
            if not found:
                there = ", ".join(map(repr, self.axes[name]))
                raise ValueError(f"{name}: expected one of {there}, got {check.shown(wanted[name])}")
            kept = found
        rest = {name: value for name, value in wanted.items() if name not in self.axes}
        for name in rest:
            if name not in Key._fields:
                raise TypeError(f"select: expected {', '.join([*self.axes, *Key._fields])}, got {name!r}")
        return SweepTable(
            tuple(self.runs[i] for i in kept),
            tuple(self.tables[i].select(**rest) for i in kept),
            tuple(self.settings[i] for i in kept),
            tuple(self.keys[i] for i in kept),
            self.facts,
            self.told,
        )

    def table(self) -> Table:
        """The only table.

        Raises:
            ValueError: there are several; ``select`` picks one.
        """
        if len(self.tables) != 1:
            raise ValueError(f"table: expected one run, got {len(self.tables)}; select(...) by {', '.join(self.axes)}")
        return self.tables[0]

    def records(self, confidence: float = 0.95) -> list[dict[str, Any]]:
        """What :meth:`Table.records` has, with what varies in front.

        Args:
            confidence: of the intervals.
        """
        return [{**run, **record} for run, table in zip(self.runs, self.tables) for record in table.records(confidence)]

    def to_pandas(self, *, work: bool = False) -> pandas.DataFrame:
        """A frame with a row for each run, key and prompt: what varies, then the columns of :meth:`Table.to_pandas`.

        Args:
            work: add the columns ``thoughts`` and ``scores``.

        Raises:
            ImportError: pandas is not installed; the message says how to get it.
        """
        pandas = table_file.imported("pandas")
        frames = []
        for run, table in zip(self.runs, self.tables):
            frame = table.to_pandas(work=work)
            for i, (name, value) in enumerate(run.items()):
                frame.insert(i, name, _cell(value))
            frames.append(frame)
        return pandas.concat(frames, ignore_index=True)

    def to_xarray(self) -> xarray.Dataset:
        """A dataset with what varies, the fields of :class:`Key` and ``prompt`` as dimensions, each with its units; NaN
        where there is no figure.

        Raises:
            ImportError: xarray or pandas is not installed; the message says how to get it.
        """
        names = [*self.axes, *Key._fields, "prompt"]
        units = {**TABLE_UNITS, **UNITS, **self.told.units}
        return table_file.dataset(lambda: self.to_pandas(work=True), names, units, self.facts)


def _distinct(values: Any) -> list[Any]:
    return [json.loads(text) for text in dict.fromkeys(json.dumps(value) for value in values)]


def _cell(value: Any) -> Any:
    """In a column: a number, text or truth; a list as text."""
    return json.dumps(value) if isinstance(value, (list, tuple)) else value


def write(
    path: Path,
    facts: Mapping[str, Any],
    common: Mapping[str, Any],
    runs: Sequence[Mapping[str, Any]],
    table_of: Callable[[int], Table],
    told: Told,
) -> None:
    """Write the tables of a sweep, one in memory at a time and each a row group, whole or not at all.

    Args:
        path: of the file.
        facts: of all.
        common: settings of all runs.
        runs: for each ``varied``, ``key`` and ``settings``, which are those that others have not.
        table_of: the table of a run.
        told: of the command.

    Raises:
        OSError: it cannot be written.
    """
    parquet = table_file.imported("pyarrow.parquet")
    columns = [{column(name): _cell(value) for name, value in run["varied"].items()} for run in runs]
    kinds = {name: _column_type([one[name] for one in columns]) for name in columns[0]}
    head = {
        "format": FORMAT,
        "facts": json.dumps(dict(facts), sort_keys=True),
        "common": json.dumps(dict(common), sort_keys=True),
        "told": json.dumps(told._asdict(), sort_keys=True),
    }
    with files.replacing(path, "out") as file, contextlib.ExitStack() as stack:
        writer, described = None, []
        for i, run in enumerate(runs):
            table = table_of(i)
            rows = table.values.size
            own = {name: np.full(rows, _as(kinds[name], value), kinds[name]) for name, value in columns[i].items()}
            own["settings"] = np.full(rows, run["key"], object)
            encoded = table_file.encoded({**own, **_long_form(table)}, head)
            if writer is None:
                writer = stack.enter_context(parquet.ParquetWriter(file, encoded.schema))
            writer.write_table(encoded, row_group_size=max(rows, 1))
            described.append({**run, "about": dict(table.about)})
        if writer is not None:
            writer.add_key_value_metadata({"runs": json.dumps(described)})


def _long_form(table: Table) -> dict[str, Any]:
    """All columns that a table may have, NaN where this one has none."""
    arrays = {name: getattr(table, name) for name in OPTIONAL}
    filled = {name: np.full_like(table.values, math.nan) if a is None else a for name, a in arrays.items()}
    return table_file.long_form(Key._fields, table.keys, table.prompts, {"value": table.values, **filled})


def _as(kind: Any, value: Any) -> Any:
    return value if kind is not object or isinstance(value, str) else json.dumps(value)


def _column_type(values: Sequence[Any]) -> Any:
    for kind in (bool, int, float):
        if all(type(value) is kind or (kind is float and type(value) is int) for value in values):
            return kind
    return object


def load(folder: str | os.PathLike[str]) -> SweepTable:
    """The merged table of a sweep.

    Args:
        folder: of the sweep, or its ``table.parquet``.

    Returns:
        Figures of all its settings.

    Raises:
        ValueError: the sweep is not complete, or it is no such file.
        OSError: it cannot be read.
    """
    given = Path(os.fsdecode(check.path("folder", folder)))
    path = given / "table.parquet" if given.is_dir() else given
    if given.is_dir() and not path.exists():
        raise ValueError(
            f"folder: expected a complete sweep, got {given} without table.parquet; ttc-fast merge {given}"
        )
    pyarrow, parquet = table_file.imported("pyarrow"), table_file.imported("pyarrow.parquet")
    with table_file.arrow_file(path) as file:
        try:
            source = parquet.ParquetFile(file)
            metadata = {
                name.decode(): text.decode()
                for name, text in (source.metadata.metadata or {}).items()
                if not name.startswith(b"ARROW")
            }
            if metadata.get("format") != FORMAT:
                raise ValueError(f"{path}: expected the format {FORMAT}, got {metadata.get('format', 'none')}")
            runs = json.loads(metadata["runs"])
            tables = tuple(_table(source.read_row_group(i), run, str(path)) for i, run in enumerate(runs))
        except (pyarrow.ArrowException, json.JSONDecodeError, KeyError) as error:
            raise ValueError(f"{path}: expected the table of a sweep: {error}") from error
    common = json.loads(metadata["common"])
    return SweepTable(
        tuple({column(name): value for name, value in run["varied"].items()} for run in runs),
        tables,
        tuple({**common, **run["settings"]} for run in runs),
        tuple(run["key"] for run in runs),
        json.loads(metadata["facts"]),
        Told(**json.loads(metadata.get("told", "{}"))),
    )


def _table(group: Any, run: Mapping[str, Any], source: str) -> Table:
    keys, prompts, arrays = table_file.decoded(group, Key._fields, OPTIONAL, source)
    known = {name: array for name, array in arrays.items() if name == "value" or not np.isnan(array).all()}
    values = known.pop("value")
    return Table(tuple(map(Key._make, keys)), prompts, values, about=run["about"], **known)
