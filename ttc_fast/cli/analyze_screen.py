"""What ``ttc-fast analyze`` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ..estimators.intervals import Interval
    from ..logs.analysis import Analysis, MetricPoint
    from ..logs.comparison import LogComparison
    from ..logs.log import SampleLog
    from .analyze_config import AnalyzeConfig


def show(
    config: AnalyzeConfig, result: Analysis, comparison: LogComparison | None = None, group: str | None = None
) -> None:
    """Print what was read, the table, the fit and the comparisons.

    Args:
        config: the settings.
        result: of the files, or of a group.
        comparison: with the files of ``--against``.
        group: its name.
    """
    from rich.markup import escape

    from .. import __version__
    from ..numerics.visible import visible
    from . import console as output

    console, log = output.console(), result.log
    rules = f"; ties: {config.ties}, no answer: {config.no_answer}, equal: {config.equal}"
    of = "" if group is None else f"{escape(visible(group))}: "
    console.print(f"ttc-fast {__version__}: {of}{size(log)}{rules if log.answers is not None else ''}")
    show_left_out(console, log)
    show_notes(console, result.notes)
    over = "prompts" if log.clusters is None else "prompts; intervals over clusters"
    console.print(f"mean over {over}, \\[95 % interval]; band: 95 % for all k together\n")
    points = [point for point in result.points if point.metric == "pass@k"]
    points += [point for point in result.points if point.metric != "pass@k"]
    cells = {(point.k, point.metric): _cell(result, point) for point in (*points, *result.further)}
    console.print(output.table("k", cells))
    _show_below_table(console, result)
    if config.worst:
        _show_worst(console, result, config.worst)
    if comparison is not None:
        _show_comparison(console, result, comparison)


def size(log: SampleLog) -> str:
    least, most = int(log.samples.min()), int(log.samples.max())
    samples = f"{least}" if least == most else f"{least} to {most}"
    return f"{len(log.samples):,} prompts x {samples} samples, format {log.format}"


def show_left_out(console: Console, log: SampleLog) -> None:
    """Print what was put together and left out.

    Args:
        console: where to.
        log: the samples.
    """
    from rich.markup import escape

    from ..numerics.visible import visible

    if log.pooled:
        console.print(f"{log.pooled:,} prompts occur in several files: their samples are put together")
    if log.skipped:
        console.print(f"{log.skipped:,} bad lines left out, such as:")
        for complaint in log.complaints:
            console.print(f"  {escape(visible(complaint))}")


def show_notes(console: Console, notes: tuple[str, ...]) -> None:
    """Print what the user should know.

    Args:
        console: where to.
        notes: a line for each.
    """
    from rich.markup import escape

    from ..numerics.visible import visible

    for note in notes:
        console.print(f"note: {escape(visible(note))}")


def _cell(result: Analysis, point: MetricPoint) -> str:
    text = f"{point.mean:,.0f}" if point.metric == "tokens" else f"{point.mean:.4f}"
    if math.isfinite(point.ci_low) and not (point.metric == "pass^k" and len(result.curves) > 3):
        text += f" \\[{point.ci_low:.4f}, {point.ci_high:.4f}]"
    if point.prompts < len(result.log.samples):
        text += f" ({point.prompts} prompts)"
    band = result.bands.get((point.metric, point.k))
    if band is not None and math.isfinite(band.high):
        text += f"\n  band \\[{band.low:.4f}, {band.high:.4f}]"
    return text


_STAR = "*: this interval leaves out 0"


def _show_below_table(console: Console, result: Analysis) -> None:
    from .analyze_document import monte_carlo_error

    for curve in result.curves:
        noise = max(monte_carlo_error(result, curve.metric).values(), default=0.0)
        if noise:
            console.print(
                f"{curve.metric}: by random subsets at some k; Monte Carlo error of the mean up to {noise:.1g}"
            )
    if result.fit is not None:
        fit = result.fit
        interval = f" \\[{fit.exponent_low:.3g}, {fit.exponent_high:.3g}]"
        console.print(
            f"coverage: -ln pass@k ~ {fit.scale:.3g} k^-b with b = {fit.exponent:.3g}{interval}, of the "
            f"{result.fit_prompts:,} prompts with at least {result.budgets[-1]:,} samples"
        )
    if result.majority_bounds:
        parts = [f"{low:.4f} to {high:.4f} of {n}" for n, (low, high) in result.majority_bounds.items()]
        console.print(f"majority between right and wrong, by two samples of each prompt: {', '.join(parts)} votes")
    if len(result.log.samples) == 1:
        console.print("one prompt: there is no interval over prompts")
    elif result.differences:
        console.print(f"\non the same prompts, at k = {result.differences[0].k} ({_STAR}):")
        for pair in result.differences:
            console.print(f"  {pair.one:<10} - {pair.other:<10} {_difference(pair.interval)}")


def _show_worst(console: Console, result: Analysis, count: int) -> None:
    from rich.markup import escape

    from ..logs.table import worst
    from ..numerics.visible import visible
    from . import console as output

    console.print("\nprompts at which pass@1 and maj@k, at the largest k, differ most:\n")
    cells: dict[tuple[str, str], str] = {}
    for odd in worst(result, count):
        name = escape(visible(f"{odd.prompt:.60}"))
        cells[name, "pass@1"], cells[name, "maj@k"] = f"{odd.single:.4f}", f"{odd.vote:.4f}"
        cells[name, "maj@k - pass@1"] = f"{odd.vote - odd.single:+.4f}"
    console.print(output.table("prompt", cells))


def _difference(interval: Interval) -> str:
    mean, low, high = interval.mean, interval.low, interval.high
    if not math.isfinite(low):
        return f"{mean:+.4f}"
    return f"{mean:+.4f} \\[{low:+.4f}, {high:+.4f}]{'' if low <= 0 <= high else '  *'}"


def _show_comparison(console: Console, result: Analysis, comparison: LogComparison) -> None:
    from . import console as output

    other, matched = comparison.other, comparison.matched
    console.print(
        f"\nagainst {size(other)}: {matched:,} prompts in both, {len(result.log.samples) - matched:,} "
        f"only in files, {len(other.samples) - matched:,} only in against"
    )
    show_left_out(console, other)
    show_notes(console, other.notes)
    console.print(f"on the same prompts ({_STAR}):\n")
    cells: dict[tuple[str, str], str] = {}
    for pair in comparison.differences:
        row = pair.metric.replace("@k", f"@{pair.k}")
        cells[row, "here"], cells[row, "against"] = f"{pair.mean:.4f}", f"{pair.other_mean:.4f}"
        cells[row, "here - against"] = _difference(pair.difference)
        cells[row, "prompts"] = f"{pair.prompts:,}"
    console.print(output.table("metric", cells))
