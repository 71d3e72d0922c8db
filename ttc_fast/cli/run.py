"""The command ``ttc-fast run``, also ``python -m ttc_fast.run``: one screen of its results."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from ..experiments.config import RunConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..estimators.arrays import Array
    from ..estimators.table import Key, Table
    from ..experiments.results import RunResult

COLUMNS = 7
"""Budgets, or steps, of a table on one screen; fewer where they are too wide."""


def main(config: RunConfig) -> None:
    """Run, print, write.

    Args:
        config: the settings.

    Raises:
        ValueError, TypeError, OSError: with a message for the user.
    """
    # torch takes seconds to import: it waits until the command line is understood.
    from ..experiments import files, plot
    from ..experiments.records import run_json
    from ..experiments.run import run
    from . import full

    for name, path in (("json", config.json), ("save", config.save)):
        if path is not None:
            files.check_writable(path, name)
    if config.save is not None and config.save.suffix != ".parquet":
        raise ValueError(f"save: expected a file that ends in .parquet, got {config.save}")
    if config.plot is not None:
        plot.check_possible(config.plot)
    if not config.quiet:
        _note_interpreter(config.backend)
    result = run(config, progress=not config.quiet)
    if not config.quiet:
        print(full.text(result) if config.full else text(result))
    if config.json is not None:
        files.write(config.json, run_json(result))
    if config.save is not None:
        result.table.save(config.save)
    if config.plot is not None:
        plot.draw_run(result, config.plot)


def _note_interpreter(backend: str) -> None:
    """Why the run will be slow, if Triton interprets its kernels."""
    from ..decoding.backends import backends
    from .console import notice

    triton = next(one for one in backends() if one.name == "triton")
    if backend == "triton" and "interpreted" in triton.reason:
        notice("Triton interprets its kernels in Python (TRITON_INTERPRET is set): slow, to check them")


def text(result: RunResult) -> str:
    """One screen: for each kind of coefficients a table over budgets and one over steps."""
    from .. import __version__

    config = result.config
    head = (
        f"ttc-fast {__version__}: linear attention, d = {config.dim}, n = {config.examples}, "
        f"step size {config.step_size:.3g}, seed {config.seed}\n"
        f"0.0284(4): mean over {config.prompts} prompts and its standard error; backend {result.backend}"
    )
    return "\n\n".join([head, *(_kind(result, kind) for kind in result.rules)])


def _kind(result: RunResult, kind: str) -> str:
    whole = result.table.select(coefficients=kind)
    metric = headline(whole)
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
    lines.append(_law_line(whole))
    if result.throughput[kind]:  # no step, no work
        speed = result.throughput[kind] / 1e6
        lines.append(f"decoded {speed:,.{0 if speed >= 10 else 1}f} million coefficient-steps per second")
    return "\n".join([*(line for line in lines if line), *warnings(result, kind)])


def _brief(rule: object) -> str:
    """A rule with those of its settings that are not the defaults."""
    if not dataclasses.is_dataclass(rule):
        return str(rule)
    settings = {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}
    changed = [f"{f.name}={settings[f.name]!r}" for f in dataclasses.fields(rule) if settings[f.name] != f.default]
    return f"{type(rule).__name__}({', '.join(changed)})"


def headline(table: Table) -> str:
    """The metric that is shown: the squared error where it is known."""
    return "squared_error" if any(key.metric == "squared_error" for key in table.keys) else "in_context_loss"


def _level_techniques(table: Table, most: int) -> set[str]:
    """Those that do not depend on the budget."""
    using = {key.technique for key in table.keys if key.samples > 1 or most == 1}
    return {key.technique for key in table.keys} - using


def _grid(table: Table, corner: str, keys: Sequence[Key], columns: Sequence[int]) -> str:
    """Techniques by columns, as many as fit."""
    from .console import WIDTH, aligned, evenly, with_error

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
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):  # chains that diverged
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return float(values.mean()), float(error)


def _disagreement(table: Table, last: int) -> list[str]:
    from .console import with_error

    rows = [key for key in table.keys if key.metric == "disagreement" and key.steps == last]
    return [
        f"disagreement of two samples (mean squared difference per coefficient): {with_error(table[key].mean(), 0.0)}"
        for key in rows
    ]


def _law_line(table: Table) -> str:
    """How many figures have a law, and how they compare."""
    if table.theory is None:
        return ""
    checks = table.theory_checks()
    if not checks:
        return f"theory: none of {len(table.keys)} figures has a law here (ttc-fast theory lists them)"
    scores = [abs(check.z) for check in checks.values() if math.isfinite(check.z)]
    largest = f"; largest difference {max(scores):.1f} standard errors" if scores else ""
    return f"theory: {len(checks)} of {len(table.keys)} figures have a law{largest}"


def warnings(result: RunResult, kind: str) -> list[str]:
    """What a reader must know of the results of a kind of coefficients; mostly nothing."""
    lines = []
    if result.unstable[kind] and kind == "continuous":  # bits cannot diverge
        lines.append(
            f"{result.unstable[kind]} of {result.config.prompts} prompts make the chain diverge, the step being too "
            "large for them:\ntrust the median (--full), or take a smaller --step-size"
        )
    everywhere = result.all_prompts[kind]
    wanted = (kind, "mean", "squared_error")
    means = [k for k in result.table.keys if (k.coefficients, k.technique, k.metric) == wanted]
    checks = result.table.theory_checks()
    key = max(means, key=lambda k: (k.steps, k.samples), default=None)
    if key in checks and everywhere is not None and everywhere > 2 * checks[key].theory:
        lines.append(
            f"over all possible prompts the mean error of {key.samples} samples is {everywhere:.3g}, against "
            f"{checks[key].theory:.3g} of these:\nrare prompts whose chain diverges dominate it, so trust the median "
            "(--full)"
        )
    return lines
