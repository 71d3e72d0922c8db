"""Pictures of a sweep: error against samples, thoughts and compute, over both, and against what varies."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..estimators.intervals import Summary
from ..estimators.table import Key
from .plot import COLOURS, COLUMN, MARKERS, SPAN, finish
from .pooled import Pooled, pooled, settings_label
from .sweep_table import SweepTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 6
"""Pictures of one sort: those of settings evenly chosen."""


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


def pictures(found: SweepTable) -> list[Picture]:
    """All pictures that the figures of a sweep allow.

    Args:
        found: of :func:`ttc_fast.load`.
    """
    groups = pooled(found)
    there = {key.metric for group in groups for key in group.keys}
    metrics = [metric for metric in found.told.metrics if metric in there] or sorted(there)[:1]
    thoughts = found.told.units.get("steps", "steps")
    result = []
    for metric in metrics:
        ending = f"-{metric.replace('@', '_at_')}" if len(metrics) > 1 else ""
        for number, group in enumerate(_evenly(groups)):
            for kind in dict.fromkeys(key.coefficients for key in group.keys):
                keys = [key for key in group.keys if key.coefficients == kind and key.metric == metric]
                name, about = f"{number + 1}-{kind}{ending}", f"{kind}; {group.label}".rstrip("; ")
                result += _of_group(group, keys, name, about, thoughts) if keys else []
        result += _against_settings(groups, metric, thoughts, ending)
    return result


def _evenly(values: Sequence[Any]) -> list[Any]:
    chosen = sorted({round(i) for i in np.linspace(0, len(values) - 1, min(len(values), MOST))})
    return [values[i] for i in chosen]


def _of_group(group: Pooled, keys: list[Key], name: str, about: str, thoughts: str) -> list[Picture]:
    steps, samples = sorted({key.steps for key in keys}), sorted({key.samples for key in keys})
    last, most = steps[-1], samples[-1]
    metric = keys[0].metric.replace("_", " ")
    found = []
    if len(samples) > 1:
        at = f", at {last} {thoughts}" if len(steps) > 1 else ""
        chosen = [key for key in keys if key.steps == last]
        found.append(_curves(f"samples-{name}", about, f"{metric} against samples{at}", group, chosen,
                             "samples", lambda key: key.samples))  # fmt: skip
    if len([t for t in steps if t > 0]) > 1:
        chosen = [key for key in keys if key.steps > 0 and key.samples in (1, most)]
        chosen = [key for key in chosen if key.samples == most or _is_level(keys, key.technique)]
        using = f", with {most} samples" if len(samples) > 1 else ""
        found.append(_curves(f"{thoughts}-{name}", about, f"{metric} against {thoughts}{using}", group,
                             chosen, thoughts, lambda key: key.steps))  # fmt: skip
    chosen = [key for key in keys if group.thoughts[group.keys.index(key)] > 0]
    if len(chosen) > 2:
        found.append(_compute(f"compute-{name}", about, metric, group, chosen))
    grid = [key for key in keys if key.technique == _mapped(keys) and key.steps > 0]
    if len({key.steps for key in grid}) > 2 and len({key.samples for key in grid}) > 2:
        found.append(_map(f"map-{name}", about, metric, group, grid))
    return found


def _is_level(keys: Iterable[Key], technique: str) -> bool:
    """Whether it does not depend on the budget."""
    return {key.samples for key in keys if key.technique == technique} == {1}


def _mapped(keys: Iterable[Key]) -> str:
    """The technique of the map: the mean, if it is there."""
    using = list(dict.fromkeys(key.technique for key in keys if key.samples > 1))
    return "mean" if "mean" in using or not using else using[0]


def _curves(
    name: str, about: str, caption: str, group: Pooled, keys: Sequence[Key], x: str, at: Callable[[Key], float]
) -> Picture:
    def draw(ax: Axes) -> list[Curve]:
        curves = []
        for technique in dict.fromkeys(key.technique for key in keys):
            own = sorted((key for key in keys if key.technique == technique), key=at)
            places = [float(at(key)) for key in own]
            if len(own) == 1 and x == "samples":  # a level line from end to end
                own, places = own * 2, [1.0, float(max(key.samples for key in keys))]
            theory = [group.law(key) for key in own]
            curves.append(Curve(technique, places, [group.summary(key) for key in own], theory))
        draw_curves(ax, curves, x, keys[0].metric)
        return curves

    return Picture(name, about, f"{caption}. Bands: 95 % intervals of the mean; dashed: the exact law.", draw)


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


def _compute(name: str, about: str, metric: str, group: Pooled, keys: Sequence[Key]) -> Picture:
    """For each technique the best that so much compute buys: its points that no cheaper one beats."""

    def draw(ax: Axes) -> list[Curve]:
        curves = []
        for technique in dict.fromkeys(key.technique for key in keys):
            own = [key for key in keys if key.technique == technique]
            cost = {key: float(group.thoughts[group.keys.index(key)]) * group.dim for key in own}
            best: list[Key] = []
            for key in sorted(own, key=lambda key: (cost[key], group.summary(key).mean)):
                if not best or group.summary(key).mean < group.summary(best[-1]).mean:
                    best.append(key)
            points = [group.summary(key) for key in best]
            curves.append(Curve(technique, [cost[key] for key in best], points, [group.law(key) for key in best]))
        draw_curves(ax, curves, "coefficient-steps per prompt", keys[0].metric)
        return curves

    caption = f"{metric} against compute: of each technique the thoughts and samples that no cheaper choice beats."
    return Picture(name, about, caption, draw)


def _map(name: str, about: str, metric: str, group: Pooled, keys: Sequence[Key]) -> Picture:
    """Lines of equal error, and at each compute the best split."""
    technique = keys[0].technique
    steps, samples = sorted({key.steps for key in keys}), sorted({key.samples for key in keys})

    def draw(ax: Axes) -> list[Curve]:
        errors = np.full((len(samples), len(steps)), np.nan)
        for key in keys:
            errors[samples.index(key.samples), steps.index(key.steps)] = group.summary(key).mean
        shown = np.log10(np.where(errors > 0, errors, np.nan))
        mesh = ax.pcolormesh(steps, samples, shown, cmap="cividis", shading="nearest")
        if np.isfinite(shown).all() and np.ptp(shown) > 0:
            ax.contour(steps, samples, shown, levels=8, colors="white", linewidths=0.5)
        best: dict[int, tuple[float, int, int]] = {}
        for (i, n), (j, t) in itertools.product(enumerate(samples), enumerate(steps)):
            if math.isfinite(shown[i, j]):
                best[n * t] = min(best.get(n * t, (math.inf, 0, 0)), (float(shown[i, j]), t, n))
        chosen, least = [], math.inf
        for cost in sorted(best):
            if best[cost][0] < least:
                least = best[cost][0]
                chosen.append(best[cost][1:])
        ax.plot(*zip(*chosen), "o-", color="#D55E00", markersize=2.5, linewidth=0.9)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("thoughts")
        ax.set_ylabel("samples")
        bar = ax.figure.colorbar(mesh, ax=ax)
        bar.set_label(f"log10 of {metric}", fontsize=7)
        bar.ax.tick_params(labelsize=6)
        return []

    caption = (
        f"{metric} of the technique {technique} over thoughts and samples, with lines of equal error; orange: the "
        "choices that no cheaper one beats, where a thought of a sample costs the same everywhere."
    )
    return Picture(name, about, caption, draw)


def _against_settings(groups: Sequence[Pooled], metric: str, thoughts: str, ending: str) -> list[Picture]:
    """Against every setting that varies over three numbers or more, the others held."""
    found = []
    for axis in groups[0].varied if groups else ():
        values = {json.dumps(group.varied[axis]) for group in groups}
        if len(values) < 3 or not all(type(group.varied[axis]) in (int, float) for group in groups):
            continue
        held: dict[str, list[Pooled]] = {}
        for group in groups:
            held.setdefault(json.dumps({k: v for k, v in group.varied.items() if k != axis}), []).append(group)
        for number, members in enumerate(_evenly(list(held.values()))):
            members.sort(key=lambda group: group.varied[axis])
            for kind in dict.fromkeys(key.coefficients for key in members[0].keys):
                name = f"{axis}-{number + 1}-{kind}{ending}"
                found.append(_against(axis, members, metric, kind, name, thoughts))
    return [picture for picture in found if picture is not None]


def _against(axis: str, members: list[Pooled], metric: str, kind: str, name: str, thoughts: str) -> Picture | None:
    """Each technique at its most thoughts and samples."""
    largest: dict[str, list[tuple[float, Pooled, Key]]] = {}
    for group in members:
        keys = [key for key in group.keys if key.metric == metric and key.coefficients == kind]
        for technique in dict.fromkeys(key.technique for key in keys):
            own = [key for key in keys if key.technique == technique]
            key = max(own, key=lambda key: (key.steps, key.samples))
            largest.setdefault(technique, []).append((float(group.varied[axis]), group, key))
    if not largest:
        return None
    rest = {k: v for k, v in members[0].varied.items() if k != axis}
    about = f"{kind}; {settings_label(rest)}".rstrip("; ")

    def draw(ax: Axes) -> list[Curve]:
        curves = []
        for technique, points in largest.items():
            found, laws = [group.summary(key) for _, group, key in points], [g.law(key) for _, g, key in points]
            curves.append(Curve(technique, [value for value, _, _ in points], found, laws))
        x = [value for curve in curves for value in curve.x]
        draw_curves(ax, curves, axis, metric, log=min(x) > 0 and max(x) / min(x) >= 8)
        return curves

    keys = [key for points in largest.values() for _, _, key in points]
    last, most = max(key.steps for key in keys), max(key.samples for key in keys)
    using = [f"{number} {word}" for number, word in ((last, thoughts), (most, "samples")) if number > 1]
    at = f", at up to {' and '.join(using)}" if using else ""
    caption = f"{metric.replace('_', ' ')} against {axis.replace('_', ' ')}{at}. Bands: 95 % intervals of the mean; "
    return Picture(name, about, f"{caption}dashed: the exact law.", draw)
