"""The picture of a forecast from a log: curves beyond the samples, and the law of success. Needs matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..estimators.success_law import GRID
from ..logs.fit import Fit
from ..logs.laboratory import Likeness
from .files import write
from .plot import COLOURS, COLUMN, MARKERS, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_forecast(fit: Fit, path: Path, likenesses: Sequence[Likeness] = ()) -> None:
    """Forecasts with their intervals, what the samples show as markers, and below them the law of success.

    Args:
        fit: of a log.
        path: of the picture, written whole or not at all; its ending says the format.
        likenesses: the nearest laboratories, whose laws are drawn dashed, shorter and shorter.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(COLUMN, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1)
    _draw_curves(above, fit, likenesses)
    below.step(GRID, np.cumsum(fit.law.weights), where="post", color="black", linewidth=0.9)
    below.set_xlabel("probability of success", fontsize=7)
    below.set_ylabel("share of prompts at or below", fontsize=7)
    below.set_ylim(0, 1.02)
    for axes in (above, below):
        finish(axes)
        axes.grid(alpha=0.3, linewidth=0.4)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=300)
    write(path, picture.getvalue(), "plot")


def _draw_curves(ax: Axes, fit: Fit, likenesses: Sequence[Likeness]) -> None:
    for i, metric in enumerate(fit.prompt_values):
        points, colour = list(fit.of(metric).values()), COLOURS[i]
        x = [point.k for point in points]
        ax.plot(x, [point.mean for point in points], color=colour, linewidth=0.9, label=metric)
        low, high = [point.low for point in points], [point.high for point in points]
        ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        seen = [point.seen for point in points]
        ax.plot(x, seen, color=colour, marker=MARKERS[i], markersize=2.5, linestyle="none")
        for j, likeness in enumerate(likenesses):
            law = likeness.curves.get(metric, {})
            ax.plot(list(law), list(law.values()), color=colour, linestyle=(0, (4 / 2**j, 2)), linewidth=0.7)
    ax.axvline(int(fit.log.samples.min()), color="black", linewidth=0.5, linestyle=":")
    ax.set_xscale("log", base=2)
    ax.set_xlabel("samples k; dotted: those that were fitted", fontsize=7)
    ax.set_ylabel("share right", fontsize=7)
    ax.legend(fontsize=5.5, frameon=False)
