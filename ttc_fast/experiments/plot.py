"""The picture of a run: error against samples and against steps, theory dashed. Needs matplotlib."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cli import console as output
from ..estimators.intervals import summarize
from ..evaluation.evaluate import Key
from ..techniques.aggregate import TECHNIQUES
from .run import KindResult, RunResult

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


def check_possible(path: Path) -> None:
    """Raise now, before hours of work, if no picture can be drawn to ``path``."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"plot: expected a file that ends in {', '.join(FORMATS)}, got {path}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("plot: expected matplotlib to be installed, got none; pip install 'ttc-fast[plot]'")
    output.check_writable(path, "plot")


def draw(result: RunResult, path: Path) -> None:
    """Two panels for each kind of coefficients: mean error with its 95 % interval, log axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(COLUMN, 2.2 * len(result.kinds) + 2.2 * len(result.kinds)), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever the user's settings
    axes = figure.subplots(2 * len(result.kinds), 1, squeeze=False)[:, 0]
    for kind, (over_samples, over_steps) in zip(result.kinds, zip(axes[::2], axes[1::2])):
        scores = kind.evaluation.scores
        metric = "squared_error" if any(key.metric == "squared_error" for key in scores) else "in_context_loss"
        last, most = max(result.config.steps), result.config.samples
        keys = [key for key in scores if key.metric == metric]
        _panel(over_samples, kind, "samples", [key for key in keys if key.steps == last])
        _panel(over_steps, kind, "steps", [key for key in keys if key.samples == most and key.steps > 0])
        over_samples.set_title(f"{kind.coefficients} coefficients", fontsize=8)
        over_samples.set_xlabel(f"samples, at {last} steps", fontsize=7)
        over_steps.set_xlabel(f"steps, with {most} samples", fontsize=7)
        for axis in (over_samples, over_steps):
            axis.set_ylabel(metric.replace("_", " "), fontsize=7)
            axis.tick_params(labelsize=6)
        over_samples.legend(fontsize=5.5, frameon=False, ncols=2)
    figure.savefig(path, dpi=300)


def _panel(axis: Axes, kind: KindResult, field: str, keys: Sequence[Key]) -> None:
    """A curve with its band for each technique; dashed, without markers: theory."""
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    order = [name for name in TECHNIQUES if any(key.technique == name for key in keys)]
    for i, name in enumerate(order):
        points = sorted((getattr(key, field), key) for key in keys if key.technique == name)
        x = [value for value, _ in points]
        summaries = [summarize(kind.evaluation.scores[key]) for _, key in points]
        look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "linewidth": 0.9}
        # A log axis has no place for 0: such points are left out.
        axis.plot(
            x,
            [s.mean or math.nan for s in summaries],
            marker=MARKERS[i % len(MARKERS)],
            markersize=2.5,
            label=name,
            **look,
        )
        # Where an interval reaches below 0 the band ends a decade below the mean.
        low = [max(s.ci_low, s.mean / 10) for s in summaries]
        axis.fill_between(x, low, [s.ci_high for s in summaries], color=look["color"], alpha=0.2, linewidth=0)
        known = [(value, kind.theory[key].theory) for value, key in points if key in kind.theory]
        axis.plot([v for v, _ in known], [t for _, t in known], linestyle=(0, (4, 2)), **{**look, "color": "black"})
    bottom, top = axis.get_ylim()
    axis.set_ylim(bottom=max(bottom, top * SPAN))
    axis.grid(alpha=0.3, linewidth=0.4)
