"""What ``ttc-fast analyze --json`` writes: all that the screen shows, and the figures of every prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..logs.analysis import Analysis, MetricPoint
    from ..logs.comparison import LogComparison
    from ..logs.log import SampleLog
    from .analyze_config import AnalyzeConfig

_FIT = ("scale", "exponent", "exponent_low", "exponent_high")
_RULES = ("ties", "no_answer", "equal", "extract", "aggregate", "cluster")

MOST_PROMPTS = 20_000
"""Whose figures go into the document; ``--save`` takes any number."""


def document(config: AnalyzeConfig, results: dict[str, Analysis], comparison: LogComparison | None) -> dict[str, Any]:
    """The results as a document for JSON; what is not known becomes None.

    Args:
        config: the settings.
        results: by group.
        comparison: with the files of ``--against``.

    Returns:
        The document, by names; with groups one under ``groups`` for each.
    """
    if config.group_by is None:
        return records(config, next(iter(results.values())), comparison)
    groups = {name: records(config, result) for name, result in results.items()}
    return {"group_by": config.group_by, "groups": groups}


def records(config: AnalyzeConfig, result: Analysis, comparison: LogComparison | None = None) -> dict[str, Any]:
    """One result as a document for JSON.

    Args:
        config: the settings.
        result: of the files, or of a group.
        comparison: with the files of ``--against``.

    Returns:
        The document, by names.
    """
    from ..experiments.files import finite

    log, fit = result.log, result.fit
    points = [finite(asdict(point)) for point in result.points]
    return of_log(config, log, result.budgets, _RULES) | {
        "pooled_prompts": log.pooled,
        "notes": list(result.notes),
        "records": [point for point in points if point["metric"] != "weighted@k"],
        "weighted_vote": [point for point in points if point["metric"] == "weighted@k"],
        "figures": [_figure(result, point) for point in (*result.points, *result.further)],
        "coverage_fit": fit and finite({name: getattr(fit, name) for name in _FIT}) | {"prompts": result.fit_prompts},
        "majority_bounds": [
            {"votes": votes, "low": bounds.low, "high": bounds.high} for votes, bounds in result.majority_bounds.items()
        ],
        "differences": [
            {"one": d.one, "other": d.other, "k": d.k}
            | finite({"mean": d.interval.mean, "low": d.interval.low, "high": d.interval.high})
            for d in result.differences
        ],
        "worst": _worst(config, result),
        "prompt_figures": _of_prompts(result),
        "against": None if comparison is None else _against(config, comparison),
    }


def of_log(config: Any, log: SampleLog, budgets: Sequence[int], settings: Sequence[str]) -> dict[str, Any]:
    """What a document begins with: the settings, the versions, and what the log holds.

    Args:
        config: the settings of the command.
        log: that was read.
        budgets: the k.
        settings: names of those of ``config`` that are told.
    """
    import platform

    import numpy

    from .. import __version__

    files = {"files": [str(path) for path in config.files], "format": log.format, "budgets": budgets}
    return {
        "config": files | {name: getattr(config, name) for name in settings} | {"filter": log.filter},
        "versions": {"ttc_fast": __version__, "python": platform.python_version(), "numpy": numpy.__version__},
        "prompts": len(log.samples),
        "samples": int(log.samples.sum()),
        "samples_of_prompts": {"least": int(log.samples.min()), "most": int(log.samples.max())},
        "bad_lines": log.skipped,
        "complaints": list(log.complaints),
    }


def _figure(result: Analysis, point: MetricPoint) -> dict[str, Any]:
    """A figure with all that belongs to it."""
    from ..experiments.files import finite

    band = result.bands.get((point.metric, point.k))
    error = monte_carlo_error(result, point.metric).get(point.k)
    return finite(
        asdict(point)
        | {"band_low": band and band.low, "band_high": band and band.high, "monte_carlo_error": error or None}
    )


def monte_carlo_error(result: Analysis, metric: str) -> dict[int, float]:
    """The error of the mean over prompts at every budget, of a metric that is estimated from random subsets.

    Args:
        result: of the files.
        metric: its name.
    """
    import numpy as np

    error = next((curve.error for curve in result.curves if curve.metric == metric), None)
    if error is None:
        return {}
    counts = np.maximum((~np.isnan(error)).sum(axis=0), 1)
    return dict(zip(result.budgets, (np.sqrt(np.nansum(error**2, axis=0)) / counts).tolist()))


def _worst(config: AnalyzeConfig, result: Analysis) -> list[dict[str, Any]]:
    from ..logs.table import worst

    return [odd._asdict() for odd in worst(result, config.worst)] if config.worst else []


def _of_prompts(result: Analysis) -> dict[str, Any] | None:
    """The figures of every prompt; None where there are too many prompts."""
    import numpy as np

    log = result.log
    if len(log.samples) > MOST_PROMPTS:
        return None
    curves = {curve.metric: curve.values for curve in (*result.curves, result.all_right)}
    return {
        "prompts": [str(name) for name in log.prompts],
        "samples": log.samples.tolist(),
        "correct": log.correct.tolist(),
        "budgets": list(result.budgets),
        "values": {
            metric: np.where(np.isnan(values), None, values.astype(object)).tolist()  # type: ignore[call-overload]
            for metric, values in curves.items()
        },
    }


def _against(config: AnalyzeConfig, comparison: LogComparison) -> dict[str, Any]:
    from ..experiments.files import finite

    return {
        "files": [str(path) for path in config.against or ()],
        "prompts": comparison.matched,
        "notes": list(comparison.other.notes),
        "bad_lines": comparison.other.skipped,
        "records": [
            finite(
                {
                    "metric": pair.metric,
                    "k": pair.k,
                    "difference": pair.difference.mean,
                    "ci_low": pair.difference.low,
                    "ci_high": pair.difference.high,
                    "prompts": pair.prompts,
                }
            )
            for pair in comparison.differences
        ],
        "means": [
            {"metric": pair.metric, "k": pair.k, "here": pair.mean, "against": pair.other_mean}
            for pair in comparison.differences
        ],
    }


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a document as JSON, whole or not at all.

    Args:
        path: the file.
        document: by :func:`document`.

    Raises:
        OSError: it cannot be written.
    """
    import json

    from ..experiments.files import write as write_file

    write_file(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
