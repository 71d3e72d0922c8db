"""An analysis as a :class:`~ttc_fast.estimators.table.Table`, with the names of the prompts, and the prompts that stand
out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..estimators.arrays import Array
from ..estimators.table import Key, Table
from .analysis import Analysis
from .fit import Fit
from .log import SampleLog

NAMES = "prompt_names"
"""Where the names of the prompts are among the facts of a table, as a list in JSON, in the order of its prompts."""

_TECHNIQUES = {"pass@k": "pass", "maj@k": "majority", "best@k": "best", "weighted@k": "weighted", "pass^k": "all"}


def to_table(result: Analysis) -> Table:
    """Every figure of every prompt; a prompt with fewer than k samples has NaN.

    Args:
        result: by :func:`~ttc_fast.logs.analysis.analyze`.

    Returns:
        A table with the keys ``("log", technique, 1, k, metric)``; its prompts are numbered from 0, and
        :func:`prompt_names` gives their names, also after :meth:`~ttc_fast.estimators.table.Table.load`.
    """
    keys: list[Key] = []
    values: list[Array] = []
    for curve in (*result.curves, result.all_right):
        for column, k in enumerate(result.budgets):
            keys.append(Key("log", _TECHNIQUES[curve.metric], 1, k, curve.metric))
            values.append(curve.values[:, column])
    lengths = result.log.tokens_of_prompts()
    if lengths is not None:
        for k in result.budgets:
            keys.append(Key("log", "tokens", 1, k, "tokens"))
            values.append(np.where(result.log.samples >= k, k * lengths, np.nan))
    about = _about("log", result.log, result.notes)
    if result.log.filter is not None:
        about["filter"] = result.log.filter
    return Table(tuple(keys), np.arange(len(result.log.prompts)), np.stack(values), about=about)


def forecast_table(fit: Fit) -> Table:
    """The forecast of every prompt, given its own samples.

    Args:
        fit: by :func:`~ttc_fast.logs.fit.fit`.

    Returns:
        A table with the keys ``("fit", technique, 1, k, metric)``, with names as in :func:`to_table`; its fact
        ``forecasts`` has the means over prompts like these, with their intervals, as a list in JSON.
    """
    keys: list[Key] = []
    values: list[Array] = []
    for metric, of_prompts in fit.prompt_values.items():
        keys += [Key("fit", _TECHNIQUES[metric], 1, k, metric) for k in fit.budgets]
        values += list(of_prompts.T)
    about = _about("fit", fit.log, fit.notes)
    points = [{"metric": point.metric, "k": point.k, "mean": point.mean, "low": point.low, "high": point.high}
              for point in fit.forecasts]  # fmt: skip
    about["forecasts"] = json.dumps(points)
    return Table(tuple(keys), np.arange(len(fit.log.prompts)), np.stack(values), about=about)


def _about(source: str, log: SampleLog, notes: Sequence[str]) -> dict[str, str]:
    """Facts of a table of a log."""
    return {
        "source": source,
        "format": log.format,
        NAMES: json.dumps([str(name) for name in log.prompts], ensure_ascii=False),
        "samples": json.dumps(log.samples.tolist()),
        "correct": json.dumps(log.correct.tolist()),
        "notes": json.dumps(notes, ensure_ascii=False),
    }


def prompt_names(table: Table) -> list[str]:
    """The names of a table's prompts, in order.

    Raises:
        ValueError: it has none.
    """
    if NAMES not in table.about:
        raise ValueError("table: expected one of a log, with names of prompts, got one without")
    names: list[str] = json.loads(table.about[NAMES])
    return names


class Odd(NamedTuple):
    """A prompt whose vote differs from its samples."""

    prompt: str
    single: float
    """pass@1."""
    vote: float
    """maj@k."""


def worst(result: Analysis, count: int) -> list[Odd]:
    """The prompts at which pass@1 and maj@k differ most, at the largest budget of each.

    Args:
        result: by :func:`~ttc_fast.logs.analysis.analyze`.
        count: how many.

    Raises:
        ValueError: the log has no answers.
    """
    votes = next((curve.values for curve in result.curves if curve.metric == "maj@k"), None)
    if votes is None:
        raise ValueError("worst: expected a log with answers, so that there is a vote, got one without")
    has = ~np.isnan(votes)
    last = votes.shape[1] - 1 - has[:, ::-1].argmax(axis=1)
    vote = np.take_along_axis(votes, last[:, None], 1)[:, 0]
    single = result.log.correct / result.log.samples
    order = np.argsort(-np.nan_to_num(np.abs(vote - single), nan=-1.0), kind="stable")[:count]
    return [Odd(str(result.log.prompts[p]), float(single[p]), float(vote[p])) for p in order if has[p].any()]
