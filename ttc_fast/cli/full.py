"""The long output of ``ttc-fast run --full``: every budget, with intervals, medians, theory and work."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ..estimators.table import Key
from ..estimators.table import Table as Figures
from ..estimators.theory_check import TheoryCheck
from ..experiments.results import RunResult
from ..techniques.registry import TECHNIQUES
from . import console
from .screen import headline, law_line, warnings


def text(result: RunResult) -> str:
    """Every figure of the shown metric, step by step."""
    buffer = io.StringIO()
    width = console.console().width
    # Far wider than a table, so that rich folds nothing.
    screen = Console(file=buffer, highlight=False, markup=False, width=10_000)
    config = result.config
    screen.print(f"{result.transformer}; backend {result.backend}, device {config.device}, seed {config.seed}")
    for kind in result.rules:
        table = result.table.select(coefficients=kind)
        metric = headline(table)
        screen.print(f"\n{kind} coefficients, {result.rules[kind]}")
        screen.print(f"{metric}: mean over {config.prompts} prompts ± half of its 95 % interval (median)")
        cells = _cells(result, table.select(metric=metric))
        for step in sorted(set(config.steps)):
            at_step = {key: cell for key, cell in cells.items() if key.steps == step}
            screen.print(f"\nat {step} steps")
            for part in _tables(result, at_step, width):
                screen.print(part)
        screen.print("work: multiplications for each prompt, of the decode + of the verifier's scores")
        for line in filter(None, [law_line(table), *warnings(result, kind)]):
            screen.print(line)
    return buffer.getvalue().rstrip()


def _cells(result: RunResult, table: Figures) -> dict[Key, str]:
    checks, cells = table.theory_checks(), {}
    for key, summary in table.summary().items():
        half = summary.ci_high - summary.mean
        interval = f" ±{half:.1g}" if math.isfinite(half) else ""
        cells[key] = f"{summary.mean:.3g}{interval} ({summary.median:.3g})"
        if key in checks:
            cells[key] += f"\ntheory {checks[key].theory:.3g}{_distance(checks[key])}"
        if _is_search(key):
            cells[key] += f"\nwork {_work([result.multiplications(key)])}"
    return cells


def _distance(check: TheoryCheck) -> str:
    """In standard errors where theory knows them, else the difference with its interval over prompts."""
    if math.isfinite(check.z):
        return f" z{round(check.z, 1) + 0.0:+.1f}"  # no -0.0
    return f" {check.difference:+.1g}±{check.half:.1g}" if math.isfinite(check.half) else ""


def _is_search(key: Key) -> bool:
    """Whether a technique acts during the chain, so that its work is its own."""
    technique = TECHNIQUES.get(key.technique)
    return technique is not None and technique.search is not None


def _work(spent: Sequence[tuple[int, int]]) -> str:
    decode, scores = (max(part) for part in zip(*spent))
    return console.short(decode) + (f" + {console.short(scores)}" if scores else "")


def _tables(result: RunResult, cells: Mapping[Key, str], width: int) -> list[Table]:
    """As few tables below each other as the width allows, each of as many techniques."""
    names = list(dict.fromkeys(key.technique for key in cells))
    for parts in range(1, len(names) + 1):
        count = math.ceil(len(names) / parts)
        tables = [_table(result, cells, names[i : i + count]) for i in range(0, len(names), count)]
        if all(_width(table) <= width for table in tables):
            break
    return tables


def _table(result: RunResult, cells: Mapping[Key, str], techniques: Sequence[str]) -> Table:
    """One row for each number of samples, with the most work that one of the techniques on the samples spends."""
    part = {key: cell for key, cell in cells.items() if key.technique in techniques}
    shown: dict[tuple[int, str], str] = {}
    for row in dict.fromkeys(key.samples for key in part):
        spent = [result.multiplications(key) for key in part if key.samples == row and not _is_search(key)]
        if spent:
            shown[row, "work"] = _work(spent)
    return console.table("samples", shown | {(key.samples, key.technique): cell for key, cell in part.items()})


def _width(table: Table) -> int:
    wide = Console(width=10_000)
    return Measurement.get(wide, wide.options, table).maximum
