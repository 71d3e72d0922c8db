"""Pictures of tables: error against samples or steps, theory dashed. Needs matplotlib."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..estimators.table import Key, Table
from ..numerics import check
from .files import check_writable, write
from .results import RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".pdf", ".svg")

# Okabe and Ito's colours, told apart by the colour-blind; markers tell them apart in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^Dv<>PX*hpd"

SPAN = 1e-7
"""Errors below this share of the largest are out of the picture."""

COLUMN = 3.4
"""Inches: one column of a paper."""


def plot(
    table: Table, x: Literal["samples", "steps"] = "samples", *, ax: Axes | None = None, metric: str | None = None
) -> Axes:
    """Draw a curve with its 95 % interval for each technique, and theory dashed where the table has it.

    Against samples the curves are those of the largest number of steps, against steps those of all samples; what
    does not depend on the budget is a level line.

    Args:
        table: figures to draw; ``table.select(...)`` picks some.
        x: what the horizontal axis shows.
        ax: where to draw; by default new axes, with a legend. ``plot(table).figure`` is their figure: a notebook shows
            it, ``.savefig("error.png")`` writes it.
        metric: default the squared error or, without it, the first of the table.

    Returns:
        The axes.

    Raises:
        ValueError: x or metric is unknown, the table is empty, or matplotlib is not installed.

    >>> import ttc_fast as tf
    >>> result = tf.run(tf.RunConfig(samples=16, prompts=4, steps=(2, 4), theory=False))
    >>> tf.plot(result.table, x="steps").get_xlabel()
    'steps'
    """
    check_matplotlib()
    check.choice("x", x, ("samples", "steps"))
    check.has("table", table, ("keys", "values", "select", "summary"), "a Table of ttc_fast.evaluate")
    metrics = list(dict.fromkeys(key.metric for key in table.keys))
    if not metrics:
        raise ValueError("table: expected figures, got none")
    if metric is not None:
        check.choice("metric", metric, metrics)
    chosen = metric or ("squared_error" if "squared_error" in metrics else metrics[0])
    check.choice("metric", chosen, metrics)
    if ax is None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(COLUMN, 2.2), layout="constrained")
        FigureCanvasAgg(figure)  # no window, whatever the user's settings
        axes = figure.subplots()
    else:
        check.has("ax", ax, ("set_xscale", "plot", "fill_between", "get_ylim"), "axes of matplotlib")
        axes = ax
    _draw(axes, table.select(metric=chosen), x)
    axes.set_xlabel(x)
    axes.set_ylabel(chosen.replace("_", " "))
    if ax is None:
        axes.legend(fontsize=5.5, frameon=False, ncols=2)
    return axes


def _draw(ax: Axes, table: Table, x: Literal["samples", "steps"]) -> None:
    last, most = max(key.steps for key in table.keys), max(key.samples for key in table.keys)
    curves: dict[tuple[str, str], list[Key]] = {}
    for key in table.keys:
        curves.setdefault((key.coefficients, key.technique), []).append(key)
    kinds = {kind for kind, _ in curves}
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    for i, ((kind, technique), keys) in enumerate(curves.items()):
        level = {key.samples for key in keys} == {1}
        label = technique if len(kinds) == 1 else f"{technique}, {kind}"
        if x == "samples":
            points = [(k.samples, k) for k in keys if k.steps == last]
            if points and level and most > 1:  # a level line from end to end
                points = [(1, points[0][1]), (most, points[0][1])]
        else:
            points = [(k.steps, k) for k in keys if k.steps > 0 and (level or k.samples == most)]
        _draw_curve(ax, table, sorted(points), label, COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)])
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom=max(bottom, top * SPAN))
    ax.grid(alpha=0.3, linewidth=0.4)


def _draw_curve(
    ax: Axes, table: Table, points: Sequence[tuple[int, Key]], label: str, colour: str, marker: str
) -> None:
    if not points:
        return
    x, part = [value for value, _ in points], table
    summaries, checks = part.summary(), part.theory_checks()
    look: dict[str, Any] = {"color": colour, "linewidth": 0.9}
    # A log axis has no place for 0: such points are left out.
    means = [summaries[key].mean or math.nan for _, key in points]
    ax.plot(x, means, marker=marker, markersize=2.5, label=label, **look)
    # Where an interval reaches below 0 the band ends a decade below the mean.
    low = [max(summaries[key].ci_low, summaries[key].mean / 10) for _, key in points]
    ax.fill_between(x, low, [summaries[key].ci_high for _, key in points], color=colour, alpha=0.2, linewidth=0)
    known = [(value, checks[key].theory) for value, key in points if key in checks]
    ax.plot([v for v, _ in known], [t for _, t in known], linestyle=(0, (4, 2)), color="black", linewidth=0.9)


def finish(ax: Axes) -> None:
    """Ticks that are read at the width of a column: small, and on a decimal logarithmic axis of less than two decades
    at 1, 2 and 5 of each, or, below half a decade, as on a linear axis.

    Args:
        ax: with all that it shows.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter

    ax.tick_params(which="both", labelsize=6)
    for axis in (ax.xaxis, ax.yaxis):
        low, high = axis.get_view_interval()
        if axis.get_scale() != "log" or getattr(axis.get_transform(), "base", 10) != 10 or high >= 100 * low:
            continue
        narrow = high < 3 * low
        axis.set_major_locator(MaxNLocator(5) if narrow else LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
        if narrow:
            axis.set_minor_locator(NullLocator())


def draw_run(result: RunResult, path: Path) -> None:
    """Two panels for each kind of coefficients, the error against samples and against steps, in a file that is written
    whole or not at all.

    Args:
        result: of a run.
        path: of the picture; its ending says the format.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = list(result.rules)
    figure = Figure(figsize=(COLUMN, 4.4 * len(kinds)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2 * len(kinds), 1, squeeze=False)[:, 0]
    last, most = max(result.config.steps), result.largest_budget
    for kind, over_samples, over_steps in zip(kinds, panels[::2], panels[1::2]):
        table = result.table.select(coefficients=kind)
        plot(table, "samples", ax=over_samples)
        plot(table, "steps", ax=over_steps)
        over_samples.set_title(f"{kind} coefficients", fontsize=8)
        over_samples.set_xlabel(f"samples, at {last} steps", fontsize=7)
        over_steps.set_xlabel(f"steps, with {most} samples", fontsize=7)
        for axes in (over_samples, over_steps):
            axes.yaxis.label.set_fontsize(7)
            finish(axes)
        over_samples.legend(fontsize=5.5, frameon=False, ncols=2)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=300)
    write(path, picture.getvalue(), "plot")


def check_possible(path: Path) -> None:
    """Raise now, before hours of work, if no picture can be drawn to ``path``."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"plot: expected a file that ends in {', '.join(FORMATS)}, got {path}")
    check_matplotlib()
    check_writable(path, "plot")


def check_matplotlib() -> None:
    """Raise now if matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("plot: expected matplotlib to be installed, got none; pip install 'ttc-fast[plot]'")
