"""Figures of a study in the paper's kind: error against thoughts for several numbers of samples, or against samples."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ..estimators.table import Key, Table
from .files import write
from .plot import COLOURS, COLUMN, MARKERS, finish
from .reproduction import Reproduction
from .study import StudyRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(found: Reproduction, path: Path) -> None:
    """A panel for each run with a figure, in a file that is written whole or not at all; against steps a second panel
    with the distance from the last level, prompt by prompt, where the curves of the first lie on each other.

    Args:
        found: of :func:`ttc_fast.experiments.reproduction.reproduce`.
        path: of the picture; its ending says the format.

    Raises:
        ValueError: no run has a figure.
        OSError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [one for one in found.study.runs if one.figure is not None]
    if not drawn:
        raise ValueError("plot: expected a run with a figure, got none; leave out --plot or --only")
    panels = sum(2 if (one.figure or {})["x"] == "steps" else 1 for one in drawn)
    figure = Figure(figsize=(COLUMN, 2.2 * panels), layout="constrained")
    FigureCanvasAgg(figure)
    free = iter(figure.subplots(panels, 1, squeeze=False)[:, 0])
    for one in drawn:
        _curves(next(free), one, found.tables[one.name], relative=False)
        if (one.figure or {})["x"] == "steps":
            _curves(next(free), one, found.tables[one.name], relative=True)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=300)
    write(path, picture.getvalue(), "plot")


def _curves(ax: Axes, one: StudyRun, table: Table, *, relative: bool) -> None:
    look = one.figure or {}
    x, technique, levels = look["x"], look["technique"], list(look["levels"])
    keys = [key for key in table.keys if key.metric == one.metric]
    last = max(key.steps for key in keys)
    if x == "steps":
        curves = {f"N = {n}": [k for k in keys if k.technique == technique and k.samples == n]
                  for n in sorted({k.samples for k in keys if k.technique == technique})}  # fmt: skip
        curves = {name: [k for k in keys if k.technique == name] for name in levels} | curves
    else:
        curves = {technique: [k for k in keys if k.technique == technique and k.steps == last]}
        for name in levels:
            level = next(k for k in keys if k.technique == name and k.steps == last)
            ax.axhline(table[level].mean(), color="black", linestyle=(0, (4, 2)), linewidth=0.9, label=name)
    for i, (name, points) in enumerate(curves.items()):
        if not (relative and name == levels[-1]):
            _curve(ax, table, x, points, levels[-1] if relative else None, name, i)
    ax.set_xscale("log")
    if relative:
        ax.set_yscale("symlog", linthresh=1e-4)
    ax.set_xlabel(x, fontsize=7)
    label = one.metric.replace("_", " ")
    ax.set_ylabel(f"{label} minus that of {levels[-1]}" if relative else label, fontsize=7)
    ax.set_title(one.name, fontsize=8)
    finish(ax)
    ax.grid(alpha=0.3, linewidth=0.4)
    ax.legend(fontsize=5.5, frameon=False, ncols=2)


def _curve(ax: Axes, table: Table, x: str, points: list[Key], base: str | None, name: str, i: int) -> None:
    """Means with their standard errors; with ``base`` those of the difference from that technique."""
    at = [getattr(key, x) for key in points]
    values = [table[key] - (0 if base is None else table[key._replace(technique=base, samples=1)]) for key in points]
    errors = [value.std(ddof=1) / len(value) ** 0.5 if len(value) > 1 else 0.0 for value in values]
    ax.errorbar(
        at, [value.mean() for value in values], errors, label=name, linewidth=0.9, markersize=2.5,
        color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)],
    )  # fmt: skip
