"""How a picture of a sweep is drawn: curves with bands and their laws, in the width of one column of a paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..estimators.intervals import Summary
from .plot import COLOURS, COLUMN, MARKERS, SPAN, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """Points of one technique."""

    label: str
    x: Sequence[float]
    points: Sequence[Summary]
    theory: Sequence[float]


@dataclass(frozen=True)
class Picture:
    """A figure to be drawn."""

    name: str
    title: str
    caption: str
    draw: Callable[[Axes], list[Curve]]
    """Draws, and tells the curves in the order of their lines; none for a map."""

    def figure(self) -> tuple[Figure, list[Curve]]:
        """It, drawn in the width of one column of a paper."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(COLUMN, 2.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        curves = self.draw(axes)
        axes.set_title(self.title, fontsize=7)
        finish(axes)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_fontsize(7)
        if curves:
            axes.legend(fontsize=5.5, frameon=False, ncols=2)
        return figure, curves


def draw_curves(ax: Axes, curves: Sequence[Curve], x: str, y: str, *, log: bool = True) -> None:
    """Means with bands, and theory dashed.

    Args:
        ax: where.
        curves: what.
        x, y: labels of the axes.
        log: the horizontal axis too.
    """
    if log:
        ax.set_xscale("log")
    ax.set_yscale("log")
    for i, curve in enumerate(curves):
        look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)]}
        means = [point.mean or math.nan for point in curve.points]  # a log axis has no place for 0
        (line,) = ax.plot(curve.x, means, MARKERS[i % len(MARKERS)] + "-", markersize=2.5, linewidth=0.9,
                          label=curve.label, **look)  # fmt: skip
        line.set_gid(f"curve-{i}")
        low = [max(point.ci_low, point.mean / 10) for point in curve.points]
        high = [point.ci_high for point in curve.points]
        if len(curve.x) > 1 and np.isfinite([*low, *high]).all():
            ax.fill_between(curve.x, low, high, alpha=0.2, linewidth=0, **look)
        ax.plot(curve.x, curve.theory, linestyle=(0, (4, 2)), color="black", linewidth=0.8)
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom=max(bottom, top * SPAN))
    ax.set_xlabel(x.replace("_", " "))
    ax.set_ylabel(y.replace("_", " "))
    ax.grid(alpha=0.3, linewidth=0.4)
