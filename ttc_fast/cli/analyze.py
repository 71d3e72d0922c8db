"""The command ``ttc-fast analyze``: samples of real language models in, figures with intervals out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

# numpy and rich are imported in functions: they wait until the command line is understood.
if TYPE_CHECKING:
    from rich.console import Console

    from ..estimators.intervals import Interval
    from ..logs.analysis import Analysis, MetricPoint
    from ..logs.comparison import LogComparison
    from ..logs.log import SampleLog


@dataclass(frozen=True)
class AnalyzeConfig:
    """Read logs of repeated samples and show pass@k, maj@k and best@k, estimated from all subsets of k of a
    prompt's samples, with 95 % intervals over prompts."""

    files: Positional[tuple[Path, ...]]
    """Logs of one format; a prompt that occurs in several of them gets the samples of all."""
    format: Literal["plain", "counts", "human-eval", "lm-eval", "search-and-learn", "matrix"] | None = None
    """Layout of the files (default: told from the content)."""
    budgets: tuple[int, ...] | None = None
    """Samples k that a technique may spend (default 1, 2, 4, ... up to the samples that every prompt has)."""
    ties: Literal["random", "fail", "first"] = "random"
    """Who wins a tied vote: a fair draw, nobody, or the answer sampled first."""
    no_answer: Literal["fail", "ignore"] = "fail"
    """Samples without answer vote for failure, or do not vote."""
    filter: Annotated[str | None, arg(metavar="NAME")] = None
    """Of an lm-eval log with several filters: the one whose rows count."""
    skip_bad: bool = False
    """Leave out lines that cannot be understood, and count them."""
    against: tuple[Path, ...] | None = None
    """Logs of another model or setting over the same prompts: show the paired differences."""
    json: Path | None = None
    """Write the records, the fit and the comparison to this file."""
    quiet: bool = False
    """Print nothing but errors."""


def main(config: AnalyzeConfig) -> None:
    """Read, estimate, write, print.

    Args:
        config: the settings.

    Raises:
        ValueError, OSError: with a message for the user.
    """
    from ..experiments.files import check_outputs
    from .streams import deliver

    check_outputs({"json": config.json}, {"files": config.files, "against": config.against or ()})
    result, comparison = _estimate(config)
    json = config.json
    writers = [] if json is None else [lambda: write(json, records(config, result, comparison))]
    deliver(*writers, screen=None if config.quiet else lambda: show(config, result, comparison))


def _estimate(config: AnalyzeConfig) -> tuple[Analysis, LogComparison | None]:
    from ..logs.analysis import analyze
    from ..logs.comparison import compare_logs, match_prompts
    from ..logs.reader import read
    from ..numerics.progress import reporting

    with reporting(not config.quiet) as report:

        def report_against(stage: str, share: float) -> None:
            report(f"{stage} against", share)

        reading: dict[str, Any] = {"format": config.format, "filter": config.filter, "skip_bad": config.skip_bad}
        rules: dict[str, Any] = {"ties": config.ties, "no_answer": config.no_answer}
        log = read(config.files, **reading, progress=report)
        if config.against is None:
            return analyze(log, config.budgets, **rules, progress=report), None
        other = read(config.against, **reading, progress=report_against)
        match_prompts(log, other)  # logs that do not belong together end here, before minutes of votes
        result = analyze(log, config.budgets, **rules, progress=report)
        return result, compare_logs(result, other, **rules, progress=report_against)


def show(config: AnalyzeConfig, result: Analysis, comparison: LogComparison | None = None) -> None:
    """Print what was read, the table, the fit and the comparisons.

    Args:
        config: the settings.
        result: of the files.
        comparison: with the files of ``--against``.
    """
    from .. import __version__
    from . import console as output

    console, log = output.console(), result.log
    rules = f"; ties: {config.ties}, no answer: {config.no_answer}" if log.answers is not None else ""
    console.print(f"ttc-fast {__version__}: {_size(log)}{rules}")
    _show_left_out(console, log)
    console.print("mean over prompts, \\[95 % interval]; band: 95 % for all k together\n")
    cells = {(point.k, point.metric): _cell(result, point) for point in result.points}
    if log.tokens is not None:
        cells |= {(k, "tokens"): f"{k * log.tokens.mean():,.0f}" for k in result.budgets}
    console.print(output.table("k", cells))
    _show_below_table(console, result)
    if comparison is not None:
        _show_comparison(console, result, comparison)


def _size(log: SampleLog) -> str:
    least, most = int(log.samples.min()), int(log.samples.max())
    samples = f"{least}" if least == most else f"{least} to {most}"
    return f"{len(log.samples):,} prompts x {samples} samples, format {log.format}"


def _show_left_out(console: Console, log: SampleLog) -> None:
    from rich.markup import escape

    from ..numerics.visible import visible

    if log.pooled:
        console.print(f"{log.pooled:,} prompts occur in several files: their samples are put together")
    if log.skipped:
        console.print(f"{log.skipped:,} bad lines left out, such as:")
        for complaint in log.complaints:
            console.print(f"  {escape(visible(complaint))}")


def _cell(result: Analysis, point: MetricPoint) -> str:
    text = f"{point.mean:.4f}"
    if math.isfinite(point.ci_low):
        text += f" \\[{point.ci_low:.4f}, {point.ci_high:.4f}]"
    if point.prompts < len(result.log.samples):
        text += f" ({point.prompts} prompts)"
    band = result.bands.get((point.metric, point.k))
    if band is not None and math.isfinite(band.high):
        text += f"\n  band \\[{band.low:.4f}, {band.high:.4f}]"
    return text


_STAR = "*: this interval leaves out 0"


def _show_below_table(console: Console, result: Analysis) -> None:
    import numpy as np

    for curve in result.curves:
        if curve.error is not None:
            noise = np.sqrt(np.nansum(curve.error**2, axis=0).max()) / len(curve.error)
            console.print(
                f"{curve.metric}: sum of scores per answer, by random subsets; Monte Carlo error up to {noise:.1g}"
            )
    if result.fit is not None:
        fit = result.fit
        interval = f" \\[{fit.exponent_low:.3g}, {fit.exponent_high:.3g}]"
        console.print(f"coverage: -ln pass@k ~ {fit.scale:.3g} k^-b with b = {fit.exponent:.3g}{interval}")
    if len(result.log.samples) == 1:
        console.print("one prompt: there is no interval over prompts")
    elif result.differences:
        console.print(f"\non the same prompts, at k = {result.differences[0].k} ({_STAR}):")
        for pair in result.differences:
            console.print(f"  {pair.one:<10} - {pair.other:<10} {_difference(pair.interval)}")


def _difference(interval: Interval) -> str:
    mean, low, high = interval.mean, interval.low, interval.high
    if not math.isfinite(low):
        return f"{mean:+.4f}"
    return f"{mean:+.4f} \\[{low:+.4f}, {high:+.4f}]{'' if low <= 0 <= high else '  *'}"


def _show_comparison(console: Console, result: Analysis, comparison: LogComparison) -> None:
    from . import console as output

    other, matched = comparison.other, comparison.matched
    console.print(
        f"\nagainst {_size(other)}: {matched:,} prompts in both, {len(result.log.samples) - matched:,} "
        f"only in files, {len(other.samples) - matched:,} only in against"
    )
    _show_left_out(console, other)
    console.print(f"on the same prompts ({_STAR}):\n")
    cells: dict[tuple[str, str], str] = {}
    for pair in comparison.differences:
        row = pair.metric.replace("@k", f"@{pair.k}")
        cells[row, "here"], cells[row, "against"] = f"{pair.mean:.4f}", f"{pair.other_mean:.4f}"
        cells[row, "here - against"] = _difference(pair.difference)
        cells[row, "prompts"] = f"{pair.prompts:,}"
    console.print(output.table("metric", cells))


def records(config: AnalyzeConfig, result: Analysis, comparison: LogComparison | None = None) -> dict[str, Any]:
    """The result as a document for JSON; what is not known becomes None.

    Args:
        config: the settings.
        result: of the files.
        comparison: with the files of ``--against``.

    Returns:
        The document, by names.
    """
    import platform

    import numpy

    from .. import __version__
    from ..experiments.files import finite

    log, fit = result.log, result.fit
    points = [finite(asdict(point)) for point in result.points]
    return {
        "config": {
            "files": [str(path) for path in config.files],
            "format": log.format,
            "budgets": result.budgets,
            "ties": config.ties,
            "no_answer": config.no_answer,
        },
        "versions": {"ttc_fast": __version__, "python": platform.python_version(), "numpy": numpy.__version__},
        "prompts": len(log.samples),
        "samples": int(log.samples.sum()),
        "bad_lines": log.skipped,
        "records": [point for point in points if point["metric"] != "weighted@k"],
        "weighted_vote": [point for point in points if point["metric"] == "weighted@k"],
        "coverage_fit": fit and finite({name: getattr(fit, name) for name in _FIT}),
        "differences": [
            {"one": d.one, "other": d.other, "k": d.k}
            | finite({"mean": d.interval.mean, "low": d.interval.low, "high": d.interval.high})
            for d in result.differences
        ],
        "against": None if comparison is None else _against(config, comparison),
    }


_FIT = ("scale", "exponent", "exponent_low", "exponent_high")


def _against(config: AnalyzeConfig, comparison: LogComparison) -> dict[str, Any]:
    from ..experiments.files import finite

    return {
        "files": [str(path) for path in config.against or ()],
        "prompts": comparison.matched,
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
    }


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a document as JSON, whole or not at all.

    Args:
        path: the file.
        document: by :func:`records`.

    Raises:
        OSError: it cannot be written.
    """
    import json

    from ..experiments.files import write as write_file

    write_file(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
