"""Runs of a sweep that differ in nothing but the seed, taken together: each has other prompts, or, where the command
says that they are the same ones, the mean of every prompt."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..estimators.arrays import Array
from ..estimators.intervals import Summary, summarize
from ..estimators.table import Key
from ..models.train import MODEL
from .sweep_table import SweepTable


class Pooled(NamedTuple):
    """Runs that differ in nothing but the seed, together."""

    varied: dict[str, Any]
    keys: tuple[Key, ...]
    values: Array
    """``[keys, prompts of all seeds]``."""
    theory: Array | None
    thoughts: Array
    """``[keys]``, decoded for each prompt on average."""
    dim: int

    @property
    def label(self) -> str:
        return settings_label(self.varied)

    def summary(self, key: Key) -> Summary:
        """Mean over all prompts and its 95 % interval."""
        return summarize(self.values[self.keys.index(key)])

    def law(self, key: Key) -> float:
        """The exact expectation given the prompts; NaN without a law."""
        return math.nan if self.theory is None else float(self.theory[self.keys.index(key)].mean())


def settings_label(varied: Mapping[str, Any]) -> str:
    """Settings as the title of a picture has them."""
    return ", ".join(f"{name} {value_label(value)}" for name, value in varied.items())


def value_label(value: object) -> str:
    """Of a number four digits, of a trained model its folder."""
    return f"{value:.4g}" if isinstance(value, float) else str(value).removesuffix(f"/{MODEL}")


def pooled(found: SweepTable) -> list[Pooled]:
    """The runs of a sweep, those of all seeds together.

    Args:
        found: of :func:`ttc_fast.load`.
    """
    groups: dict[str, list[int]] = {}
    for i, run in enumerate(found.runs):
        groups.setdefault(json.dumps({k: v for k, v in run.items() if k != "seed"}), []).append(i)
    result = []
    for text, members in groups.items():
        tables = [found.tables[i] for i in members]
        keys = tuple(key for key in tables[0].keys if all(key in table.keys for table in tables[1:]))
        rows = [[table.keys.index(key) for key in keys] for table in tables]

        def joined(name: str, tables: Any = tables, rows: Any = rows) -> Any:
            arrays = [getattr(table, name) for table in tables]
            if any(array is None for array in arrays):
                return None
            parts = [array[row] for array, row in zip(arrays, rows)]
            return np.concatenate(parts, axis=1) if found.told.independent else np.mean(parts, axis=0)

        thoughts = joined("thoughts")
        mean = np.zeros(len(keys)) if thoughts is None else thoughts.mean(1)
        dim = int(found.settings[members[0]].get("dim") or 1)
        result.append(Pooled(json.loads(text), keys, joined("values"), joined("theory"), mean, dim))
    return result


def comparison(groups: Sequence[Pooled]) -> list[dict[str, Any]]:
    """A record for each group, technique and metric at the most thoughts and samples.

    Args:
        groups: of :func:`pooled`.
    """
    found = []
    for group in groups:
        best: dict[tuple[str, str, str], Key] = {}
        for key in group.keys:
            place = (key.coefficients, key.technique, key.metric)
            best[place] = max(best.get(place, key), key, key=lambda one: (one.steps, one.samples))
        for key in best.values():
            summary, law = group.summary(key), group.law(key)
            found.append(
                {
                    **group.varied, **key._asdict(), "mean": summary.mean, "low": summary.ci_low,
                    "high": summary.ci_high, "median": summary.median, "law": None if math.isnan(law) else law,
                    "prompts": group.values.shape[1],
                }
            )  # fmt: skip
    return found
