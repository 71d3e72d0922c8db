"""The result of everything: metrics of techniques at budgets, one figure for each prompt.

A table is what :func:`ttc_fast.evaluate` returns, what shards are made of, and what pictures are drawn from.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..numerics import check
from . import table_file
from .arrays import Array, floats
from .intervals import Summary, summarize
from .key import UNITS as UNITS
from .key import Key as Key
from .table_checks import check_table, checked_keys, checked_prompts, checked_tables, row_of, values_of
from .theory_check import TheoryCheck, Verdict, check_against_theory, judge

if TYPE_CHECKING:
    import pandas
    import xarray

OPTIONAL = ("theory", "theory_variance", "theory_scale", "thoughts", "scores", "repeats")


@dataclass(frozen=True, eq=False)
class Table:
    """Figures by key and prompt.

    Args:
        keys: what the rows are about; no two are equal.
        prompts: global indices of the prompts ``[P]``, ascending.
        values: ``[K, P]`` float64.
        theory: exact expectation of each figure given its prompt, NaN where there is no law; None without theory.
        thoughts: thoughts decoded for each figure.
        scores: scores asked of the verifier for each figure.
        about: facts that belong to the figures, such as the layout of the random numbers; text by name.
        repeats: of how many groups of samples, none in common, each figure is the mean.
        theory_variance, theory_scale: of each figure given its prompt, see ``theory_check.py``; NaN where not known.

    Raises:
        ValueError: a shape is not as described, or a key or prompt is there twice.

    >>> table = Table((Key("binary", "mean", 2, 4, "hamming"),), np.array([0, 1]), np.array([[0.25, 0.5]]))
    >>> float(table[table.keys[0]].mean())
    0.375
    """

    keys: tuple[Key, ...]
    prompts: NDArray[np.int64]
    values: Array
    theory: Array | None = None
    thoughts: Array | None = None
    scores: Array | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    repeats: Array | None = None
    theory_variance: Array | None = None
    theory_scale: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", checked_keys(self.keys))
        object.__setattr__(self, "prompts", checked_prompts(self.prompts))
        check.has("about", self.about, ("items",), "text by name")
        shape = (len(self.keys), len(self.prompts))
        for name in ("values", *OPTIONAL):
            array = getattr(self, name)
            if array is None:
                continue
            array = floats(name, array)
            if array.shape != shape:
                raise ValueError(f"{name}: expected shape [keys, prompts] {list(shape)}, got {list(array.shape)}")
            object.__setattr__(self, name, array)
        if len(set(self.keys)) < len(self.keys):
            raise ValueError(
                f"keys: expected each once, got {next(k for k in self.keys if self.keys.count(k) > 1)} twice"
            )

    def __getitem__(self, key: Key | tuple[str, str, int, int, str]) -> Array:
        """The figures of a key, one for each prompt ``[P]``."""
        figures: Array = self.values[self._row(key)]
        return figures

    def __contains__(self, key: object) -> bool:
        return key in self.keys

    def _row(self, key: tuple[Any, ...]) -> int:
        if key not in self.keys:
            raise KeyError(f"no figures of {key}; table.keys lists those there are")
        return self.keys.index(Key(*key))

    def __repr__(self) -> str:
        names = {name: sorted({getattr(key, name) for key in self.keys}) for name in Key._fields}
        listed = "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in names.items())
        return f"Table({len(self.keys)} figures of {len(self.prompts)} prompts; {listed})"

    def select(self, **wanted: Any) -> Table:
        """The part whose keys match.

        Args:
            **wanted: ``coefficients``, ``technique``, ``steps``, ``samples`` or ``metric``, each with a value or a
                collection of values.

        Returns:
            The part, in the same order.

        Raises:
            TypeError, ValueError: a name is none of these, or no figure has such a value.

        >>> table = Table((Key("binary", "mean", 2, 4, "hamming"),), np.array([0]), np.array([[0.25]]))
        >>> len(table.select(technique="mean", samples=[1, 4]).keys)
        1
        """
        rows = list(range(len(self.keys)))
        for name, value in wanted.items():
            if name not in Key._fields:
                raise TypeError(f"select: expected {', '.join(Key._fields)}, got {name!r}")
            values = values_of(name, value)
            found = [i for i in rows if getattr(self.keys[i], name) in values]
            if not found:
                there = sorted({getattr(self.keys[i], name) for i in rows})
                raise ValueError(f"{name}: expected one of {', '.join(map(repr, there))}, got {check.shown(value)}")
            rows = found
        return self._rows(rows)

    def _rows(self, rows: Sequence[int]) -> Table:
        arrays = {name: getattr(self, name) for name in ("values", *OPTIONAL)}
        parts: dict[str, Any] = {name: None if array is None else array[rows] for name, array in arrays.items()}
        return replace(self, keys=tuple(self.keys[i] for i in rows), **parts)

    def _in_order_of(self, keys: tuple[Key, ...]) -> Table:
        if self.keys == keys:
            return self
        row = {key: i for i, key in enumerate(self.keys)}
        return self._rows([row[key] for key in keys])

    @staticmethod
    def concat(tables: Iterable[Table]) -> Table:
        """One table of the prompts of all; the order in which they are given does not matter.

        Args:
            tables: parts with the same keys and different prompts.

        Returns:
            To the bit the table that the whole would have been made as.

        Raises:
            ValueError: the keys or facts differ, a prompt is there twice, or there is no part.
        """
        parts = sorted(checked_tables(tables), key=lambda table: int(table.prompts[0]) if len(table.prompts) else -1)
        if not parts:
            raise ValueError("tables: expected at least one, got none")
        first: Table = parts[0]
        if len(parts) == 1:
            return first
        for part in parts[1:]:
            if set(part.keys) != set(first.keys):
                key = min(set(part.keys) ^ set(first.keys))
                raise ValueError(f"tables: expected the same keys in all parts, got {key} in one of them only")
            if dict(part.about) != dict(first.about):
                raise ValueError(f"tables: expected the same facts, got {dict(first.about)} and {dict(part.about)}")
        parts = [part._in_order_of(first.keys) for part in parts]
        prompts = np.concatenate([part.prompts for part in parts])
        order = np.argsort(prompts, kind="stable")
        if len(set(prompts.tolist())) < len(prompts):
            raise ValueError("tables: expected each prompt in one part, got one in two of them")
        arrays: dict[str, Any] = {}
        for name in ("values", *OPTIONAL):
            have = [getattr(part, name) for part in parts]
            lacking = any(array is None for array in have)
            arrays[name] = None if lacking else np.concatenate(have, axis=1)[:, order]
        return replace(first, prompts=prompts[order], **arrays)

    def join(self, other: Table) -> Table:
        """One table with the keys of both, of the same prompts.

        Args:
            other: figures of the same prompts.

        Returns:
            The keys of this table, then those of the other.

        Raises:
            ValueError: the prompts or facts differ, or a key is in both.
        """
        check_table("other", other)
        if not np.array_equal(self.prompts, other.prompts):
            raise ValueError("other: expected figures of the same prompts, got others")
        if dict(self.about) != dict(other.about):
            raise ValueError(f"other: expected the same facts, got {dict(self.about)} and {dict(other.about)}")
        arrays: dict[str, Any] = {"values": np.concatenate((self.values, other.values))}
        for name in OPTIONAL:
            one, two = getattr(self, name), getattr(other, name)
            if one is not None or two is not None:
                none = (np.full_like(table.values, math.nan) for table in (self, other))
                arrays[name] = np.concatenate([empty if a is None else a for a, empty in zip((one, two), none)])
        return replace(self, keys=self.keys + other.keys, **arrays)

    def summary(self, confidence: float = 0.95) -> dict[Key, Summary]:
        """Mean, interval of the mean over prompts, and median of every figure.

        Args:
            confidence: of the interval, Student's t.
        """
        return {key: summarize(values, confidence) for key, values in zip(self.keys, self.values)}

    def theory_checks(self) -> dict[Key, TheoryCheck]:
        """How far every figure that has a law is from it; chains that diverged have none."""
        if self.theory is None:
            return {}
        spread = (self.theory_variance, self.theory_scale)
        found = {
            key: check_against_theory(self.values[i], self.theory[i], *(None if a is None else a[i] for a in spread))
            for i, key in enumerate(self.keys)
            if not np.isnan(self.theory[i]).any()
        }
        return {key: check for key, check in found.items() if math.isfinite(check.theory)}

    def theory_check(self) -> Verdict[Key]:
        """Whether all figures whose law gives a variance agree with theory together."""
        return judge(self.theory_checks())

    def work(self, key: Key) -> tuple[float, float]:
        """Thoughts decoded and scores asked for a figure, the mean over prompts."""
        if self.thoughts is None or self.scores is None:
            raise ValueError("work: expected a table that has it, got one without")
        row = row_of(self.keys, key)
        return float(self.thoughts[row].mean()), float(self.scores[row].mean())

    def records(self, confidence: float = 0.95) -> list[dict[str, Any]]:
        """A dictionary for each key: its fields, mean, ci_low, ci_high, median, and theory and z, None without law; z
        is None too where the law gives no variance.

        Args:
            confidence: of the interval.
        """
        checks = self.theory_checks()
        return [
            {
                **key._asdict(),
                **summary._asdict(),
                "theory": checks[key].theory if key in checks else None,
                "z": checks[key].z if key in checks and not math.isnan(checks[key].z) else None,
            }
            for key, summary in self.summary(confidence).items()
        ]

    def _columns(self, names: Sequence[str]) -> dict[str, Any]:
        """Long form: a row for each key and prompt."""
        arrays = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return table_file.long_form(Key._fields, self.keys, self.prompts, {"value": self.values, **arrays})

    def to_pandas(self, *, work: bool = False) -> pandas.DataFrame:
        """A frame with a row for each key and prompt: the fields of :class:`Key`, ``prompt``, ``value``, and
        ``theory`` where there is some.

        Args:
            work: add the columns ``thoughts`` and ``scores``.

        Raises:
            ImportError: pandas is not installed; the message says how to get it.
        """
        pandas = table_file.imported("pandas")
        return pandas.DataFrame(self._columns(("theory", "thoughts", "scores") if work else ("theory",)))

    def to_xarray(self) -> xarray.Dataset:
        """A dataset with the fields of :class:`Key` and ``prompt`` as dimensions, with units; NaN without a figure.

        Raises:
            ImportError: xarray or pandas is not installed; the message says how to get it.
        """
        return table_file.dataset(lambda: self.to_pandas(work=True), [*Key._fields, "prompt"], UNITS, self.about)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a Parquet file, whole or not at all.

        Args:
            path: ends in ``.parquet``.

        Raises:
            ValueError: another ending.
            OSError: the file cannot be written.
        """
        table_file.write(path, self._columns(OPTIONAL), self.about)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Table:
        """Read what :meth:`save` wrote.

        Args:
            path: of the file.

        Returns:
            A table equal to the bit.

        Raises:
            ValueError: it is no such file.
            OSError: it cannot be read.
        """
        keys, prompts, arrays, about = table_file.read(path, Key._fields, OPTIONAL)
        return Table(tuple(map(Key._make, keys)), prompts, arrays.pop("value"), about=about, **arrays)
