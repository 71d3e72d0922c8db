"""The one screen that ``ttc-fast run`` prints of its results."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Sequence

import numpy as np

from .. import __version__
from ..estimators.arrays import Array
from ..estimators.table import Key, Table
from ..estimators.theory_check import judge
from ..experiments.results import RunResult
from .console import WIDTH, aligned, evenly, with_error

COLUMNS = 7
"""Budgets, or steps, of a table on one screen; fewer where they are too wide."""


def text(result: RunResult) -> str:
    """One screen: for each kind of coefficients a table over budgets and one over steps."""
    config = result.config
    head = (
        f"ttc-fast {__version__}: {result.transformer}, seed {config.seed}\n"
        f"0.0284(4): mean over {config.prompts} prompts and its standard error; backend {result.backend}"
    )
    return "\n\n".join([head, *(_kind(result, kind) for kind in result.rules)])


def _kind(result: RunResult, kind: str) -> str:
    whole = result.table.select(coefficients=kind)
    metric = headline(whole, result.config.metric)
    table, last, most = whole.select(metric=metric), max(result.config.steps), result.largest_budget
    level = _level_techniques(table, most)
    lines = [f"{kind} coefficients, {_brief(result.rules[kind])}: {metric}"]
    by_budget = [key for key in table.keys if key.steps == last and key.technique not in level]
    if by_budget:
        lines.append(_grid(table, f"samples, {last} steps", by_budget, [key.samples for key in by_budget]))
    at_most = [key for key in table.keys if key.samples == (1 if key.technique in level else most)]
    if level or len(set(result.config.steps)) > 1:
        lines.append(_grid(table, f"steps, {most} samples", at_most, [key.steps for key in at_most]))
    lines += _disagreement(whole, last)
    lines.append(law_line(whole))
    if result.throughput[kind]:  # no step, no work
        speed = result.throughput[kind] / 1e6
        compiled = result.compile_seconds.get(kind, 0.0)
        before = f", after {compiled:.1f} s to compile the kernel" if compiled >= 0.05 else ""
        lines.append(f"decoded {speed:,.{0 if speed >= 10 else 1}f} million coefficient-steps per second{before}")
    return "\n".join([*(line for line in lines if line), *warnings(result, kind)])


def _brief(rule: object) -> str:
    """A rule with those of its settings that are not the defaults."""
    if not dataclasses.is_dataclass(rule):
        return str(rule)
    settings = {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}
    changed = [f"{f.name}={settings[f.name]!r}" for f in dataclasses.fields(rule) if settings[f.name] != f.default]
    return f"{type(rule).__name__}({', '.join(changed)})"


def headline(table: Table, asked: Sequence[str] = ()) -> str:
    """The metric that is shown: the first one asked for, else the squared error where it is known.

    Args:
        table: figures of one kind of coefficients.
        asked: metrics that the settings name.
    """
    if asked:
        return asked[0]
    return "squared_error" if any(key.metric == "squared_error" for key in table.keys) else "in_context_loss"


def _level_techniques(table: Table, most: int) -> set[str]:
    """Those that do not depend on the budget."""
    using = {key.technique for key in table.keys if key.samples > 1 or most == 1}
    return {key.technique for key in table.keys} - using


def _grid(table: Table, corner: str, keys: Sequence[Key], columns: Sequence[int]) -> str:
    """Techniques by columns, as many as fit."""
    cells = {(key.technique, column): with_error(*_mean_and_error(table[key])) for key, column in zip(keys, columns)}
    names = list(dict.fromkeys(key.technique for key in keys))
    for count in range(COLUMNS, 2, -1):
        shown = evenly(sorted(set(columns)), count)
        rows = [[name, *(cells.get((name, column), "") for column in shown)] for name in names]
        grid = aligned([corner, *map(str, shown)], rows)
        if max(map(len, grid.splitlines())) <= WIDTH:
            break
    return grid


def _mean_and_error(values: Array) -> tuple[float, float]:
    """Over prompts; the error is NaN where it is not known."""
    with np.errstate(over="ignore", invalid="ignore"):  # chains that diverged
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return float(values.mean()), float(error)


def _disagreement(table: Table, last: int) -> list[str]:
    rows = [key for key in table.keys if key.metric == "disagreement" and key.steps == last]
    return [
        f"disagreement of two samples (mean squared difference per coefficient): {with_error(table[key].mean(), 0.0)}"
        for key in rows
    ]


def law_line(table: Table) -> str:
    """How many figures have a law, and whether they agree with it together; "" without theory.

    Args:
        table: figures of one kind of coefficients.
    """
    if table.theory is None:
        return ""
    checks, count = table.theory_checks(), len(table.keys)
    if not checks:
        return f"theory: none of {count} figures has a law here (ttc-fast theory lists them)"
    verdict, known = judge(checks), f"theory: {len(checks)} of {count} figures have a law"
    line = f"{known}, but no variance"
    if verdict.figures:
        known += "; they" if verdict.figures == len(checks) else f", {verdict.figures} its variance; these"
        agree = "agree" if verdict.agrees else "DO NOT agree"
        line = f"{known} {agree}: p = {verdict.p:.2g} (largest difference {verdict.largest:.1f} standard errors)"
    if verdict.unlikely is not None and not verdict.agrees:
        one = verdict.unlikely
        line += f"; see {one.technique} of {one.samples} at {one.steps} steps, {one.metric}"
    return textwrap.fill(line, WIDTH)


def warnings(result: RunResult, kind: str) -> list[str]:
    """What a reader must know of the results of a kind of coefficients; mostly nothing.

    Args:
        result: of a run.
        kind: of coefficients.

    Returns:
        Paragraphs that fit the screen.
    """
    told = []
    if result.unstable[kind] and kind == "continuous":  # bits cannot diverge
        told.append(_divergence(result, kind))
    whole = result.table.select(coefficients=kind)
    lost = int((~np.isfinite(whole.values).all(1)).sum())
    if lost and not result.unstable[kind]:
        told.append(
            f"{lost} of {len(whole.keys)} figures are infinite or NaN, as squares above 3.4e38 are in float32: take "
            "smaller units of the coefficients, noise and labels"
        )
    everywhere = result.all_prompts[kind]
    most = result.largest_budget
    key = (kind, "mean", max(result.config.steps), most, "squared_error")
    if everywhere is not None and key in result.table and result.table.theory is not None:
        here, error = _mean_and_error(result.table.theory[result.table.keys.index(key)])
        if everywhere > 2 * here and everywhere > here + 3 * error:  # never of one prompt, whose error is NaN
            told.append(
                f"over all possible prompts the mean error of {most} samples is {everywhere:.3g}, against {here:.3g} "
                f"of these: rare prompts whose chain diverges dominate it, so trust the median (--full)"
            )
    return [textwrap.fill(paragraph, WIDTH) for paragraph in told]


def _divergence(result: RunResult, kind: str) -> str:
    """That chains diverge, and what to do: the median is of use only where it is of prompts whose chain does not."""
    count, whole = result.unstable[kind], result.config.prompts or 0
    below = result.stable_step.get(kind)
    step = "these weights" if result.config.step_size is None else f"step size {result.config.step_size:.3g}"
    if below is None:
        what = f"under this noise at {step}"
        smaller = "" if result.config.step_size is None else "a smaller --step-size, or "
        remedy = f"take {smaller}less noise"
    else:
        what = f"at {step}"
        remedy = f"with --step-size below {below:.3g}, 2 / the largest eigenvalue of their S, none does"
    with np.errstate(invalid="ignore"):
        medians = np.median(result.table.select(coefficients=kind).values, axis=1)
    if 2 * count < whole and np.isfinite(medians).all():
        return f"{count} of {whole} prompts make the chain diverge {what}: trust the median (--full); {remedy}"
    return f"the chain diverges {what} for {count} of {whole} prompts, and no figure is to be trusted; {remedy}"
