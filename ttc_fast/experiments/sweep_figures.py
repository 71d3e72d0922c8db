"""Pictures of a sweep: error against samples, thoughts and compute, over both, and against what varies."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..estimators.table import Key
from .plot import COLOURS
from .pooled import Pooled, pooled, settings_label, value_label
from .sweep_drawing import Curve, Picture, draw_curves
from .sweep_table import SweepTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 6
"""Pictures of one sort: those of settings evenly chosen."""


BANDS = "Bands: 95 % intervals of the mean; dashed: the exact law."
"""What a caption says of curves."""


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
        result += _of_settings(groups, metric, thoughts, ending)
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
    grid = [key for key in keys if key.technique == _typical(keys) and key.steps > 0]
    if len({key.steps for key in grid}) > 2 and len({key.samples for key in grid}) > 2:
        found.append(_map(f"map-{name}", about, metric, group, grid))
    return found


def _is_level(keys: Iterable[Key], technique: str) -> bool:
    """Whether it does not depend on the budget."""
    return {key.samples for key in keys if key.technique == technique} == {1}


def _typical(keys: Iterable[Key]) -> str:
    """The technique that stands for all: the mean, else the first that uses samples, else the first."""
    there = sorted(keys, key=lambda key: key.samples == 1)
    names = list(dict.fromkeys(key.technique for key in there))
    return "mean" if "mean" in names else names[0]


def _curve(label: str, x: Sequence[float], group: Pooled, keys: Sequence[Key]) -> Curve:
    return Curve(label, x, [group.summary(key) for key in keys], [group.law(key) for key in keys])


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
            curves.append(_curve(technique, places, group, own))
        draw_curves(ax, curves, x, keys[0].metric)
        return curves

    return Picture(name, about, f"{caption}. {BANDS}", draw)


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
            curves.append(_curve(technique, [cost[key] for key in best], group, best))
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


def _of_settings(groups: Sequence[Pooled], metric: str, thoughts: str, ending: str) -> list[Picture]:
    """Of every setting that varies, what goes with it aside and the others held: against its numbers, if there are
    three or more, else a curve for each of its values."""
    found: list[Picture | None] = []
    for axis in groups[0].varied if groups else ():
        values = {json.dumps(group.varied[axis]) for group in groups}
        numbers = len(values) > 2 and all(type(group.varied[axis]) in (int, float) for group in groups)
        if len(values) < 2 or (not numbers and len(values) > len(COLOURS)):
            continue
        for number, (rest, members) in enumerate(_evenly(_held(groups, axis))):
            for kind in dict.fromkeys(key.coefficients for key in members[0].keys):
                about = f"{kind}; {settings_label(rest)}".rstrip("; ")
                stem = f"by_{axis}" if axis in ("samples", thoughts, "compute", "map") else axis
                name = f"{stem}-{number + 1}-{kind}{ending}"
                draw = _against if numbers else _each
                found.append(draw(axis, members, metric, kind, name, about, thoughts))
    return [picture for picture in found if picture is not None]


def _held(groups: Sequence[Pooled], axis: str) -> list[tuple[dict[str, Any], list[Pooled]]]:
    """Groups that differ in a setting, and in those that go with it, as ``[zip]`` has them, alone; what they share."""

    def values(*names: str) -> int:
        return len({json.dumps([group.varied[name] for name in names]) for group in groups})

    others = [name for name in groups[0].varied if name != axis and values(name, axis) > values(axis)]
    held: dict[str, list[Pooled]] = {}
    for group in groups:
        held.setdefault(json.dumps({name: group.varied[name] for name in others}), []).append(group)
    return [(json.loads(text), members) for text, members in held.items()]


def _each(
    axis: str, members: list[Pooled], metric: str, kind: str, name: str, about: str, thoughts: str
) -> Picture | None:
    """Of the mean, or the technique that stands for it, a curve for each value: against thoughts, else samples."""
    chosen: list[tuple[str, Pooled, list[Key]]] = []
    for group in members:
        keys = [key for key in group.keys if key.metric == metric and key.coefficients == kind and key.steps > 0]
        own = [key for key in keys if key.technique == _typical(keys)] if keys else []
        if own:
            chosen.append((value_label(group.varied[axis]), group, own))
    every = [key for _, _, own in chosen for key in own]
    over_steps = len({key.steps for key in every}) > 1
    if not over_steps and len({key.samples for key in every}) < 2:
        return None
    x, names = (thoughts, ("steps", "samples")) if over_steps else ("samples", ("samples", "steps"))
    along, held = (attrgetter(name) for name in names)
    most = max(map(held, every))

    def draw(ax: Axes) -> list[Curve]:
        curves = []
        for label, group, own in chosen:
            keys = sorted((key for key in own if held(key) == most), key=along)
            curves.append(_curve(label, [float(along(key)) for key in keys], group, keys))
        draw_curves(ax, curves, x, metric)
        return curves

    using = f", with {most} {'samples' if over_steps else thoughts}" if most > 1 else ""
    caption = f"{metric.replace('_', ' ')} of {every[0].technique} against {x} by {axis.replace('_', ' ')}{using}."
    return Picture(name, about, f"{caption} {BANDS}", draw)


def _against(
    axis: str, members: list[Pooled], metric: str, kind: str, name: str, about: str, thoughts: str
) -> Picture | None:
    """Each technique at its most thoughts and samples."""
    members = sorted(members, key=lambda group: group.varied[axis])
    largest: dict[str, list[tuple[float, Pooled, Key]]] = {}
    for group in members:
        keys = [key for key in group.keys if key.metric == metric and key.coefficients == kind]
        for technique in dict.fromkeys(key.technique for key in keys):
            own = [key for key in keys if key.technique == technique]
            key = max(own, key=lambda key: (key.steps, key.samples))
            largest.setdefault(technique, []).append((float(group.varied[axis]), group, key))
    if not largest:
        return None

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
    return Picture(name, about, f"{metric.replace('_', ' ')} against {axis.replace('_', ' ')}{at}. {BANDS}", draw)
