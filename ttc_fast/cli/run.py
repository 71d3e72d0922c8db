"""A run's output: tables and JSON."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Literal

import numpy
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .. import __version__
from ..estimators.intervals import Summary, summarize
from ..evaluation.evaluate import Key
from ..experiments.run import KindResult, RunResult
from ..numerics import rng
from ..techniques.aggregate import TECHNIQUES, Technique
from ..techniques.search import Search
from ..theory.overlay import Comparison
from . import console as output


def show(result: RunResult) -> None:
    """Print what ran, the tables and the throughput."""
    console = output.console()
    config = result.config
    console.print(
        f"ttc-fast {__version__}: linear attention, d = {config.dim}, n = {config.examples}, "
        f"step size {config.step_size:.3g}; backend {result.backend}, device {config.device}, seed {config.seed}"
    )
    for kind in result.kinds:
        _show_kind(console, result, kind)


def _show_kind(console: Console, result: RunResult, kind: KindResult) -> None:
    config, evaluation = result.config, kind.evaluation
    metric = "squared_error" if _knows_truth(kind) else "in_context_loss"
    cells = {
        key: _cell(summarize(score), kind.theory.get(key)) + _own_work(result, kind, key)
        for key, score in evaluation.scores.items()
        if key.metric == metric
    }
    fixed = [name for name, t in TECHNIQUES.items() if isinstance(t, Technique) and not t.uses_budget]
    last = max(config.steps)
    console.print(f"\n[bold]{kind.coefficients} coefficients[/bold], {escape(str(kind.rule))}")
    console.print(f"{metric}: mean over {config.prompts} prompts ± half of its 95 % interval (median)\n")

    shown = [
        f"{name}: {cells[key]}".replace("\n", ", ") for name in fixed if (key := Key(name, last, 1, metric)) in cells
    ]
    console.print("; ".join([f"more samples, at {last} steps", *shown]))
    by_samples = {k: v for k, v in cells.items() if k.steps == last and k.technique not in fixed}
    if by_samples:
        console.print(_table(result, kind, "samples", by_samples))
    console.print(f"more thoughts, with {config.samples} samples")
    console.print(_table(result, kind, "steps", {k: v for k, v in cells.items() if k.samples == config.samples}))
    console.print("work: multiplications for each prompt, of the decode + of the verifier's scores where they are used")
    if any(_is_search(key) for key in cells):
        console.print("what acts during the chain has its own work below its figure, the mean over prompts")

    if (spread := evaluation.scores.get(Key("single", last, 1, "disagreement"))) is not None:
        console.print(
            f"disagreement of two samples (mean squared difference per coefficient): {_cell(summarize(spread))}"
        )
    unstable = int(evaluation.unstable.sum())
    if unstable and kind.coefficients == "continuous":  # bits cannot diverge
        console.print(
            f"{unstable} of {config.prompts} prompts make the chain diverge, the step being too large for them: "
            "trust the median, or take a smaller --step-size"
        )
    _show_theory(console, kind, cells)
    console.print(f"decoded {kind.throughput / 1e6:,.1f} million coefficient-steps per second")


def _is_search(key: Key) -> bool:
    return isinstance(TECHNIQUES[key.technique], Search)


def _own_work(result: RunResult, kind: KindResult, key: Key) -> str:
    """A line for a technique that acts during the chain: its work is its own."""
    return f"\nwork {_work(*result.multiplications(kind, key))}" if _is_search(key) else ""


def _work(decode: int, scores: int) -> str:
    return output.short(decode) + (f" + {output.short(scores)}" if scores else "")


def _table(result: RunResult, kind: KindResult, rows: Literal["samples", "steps"], cells: Mapping[Key, str]) -> Table:
    """One row for each number of samples or of steps, with the most work that a technique on the samples spends."""
    shown: dict[tuple[int, str], str] = {}
    ready = [key for key in cells if not _is_search(key)]
    for row in dict.fromkeys(getattr(key, rows) for key in ready):
        spent = [result.multiplications(kind, key) for key in ready if getattr(key, rows) == row]
        shown[row, "work"] = _work(*(max(part) for part in zip(*spent)))
    return output.table(rows, shown | {(getattr(k, rows), k.technique): v for k, v in cells.items()})


def _show_theory(console: Console, kind: KindResult, shown: Collection[Key]) -> None:
    scores = [abs(c.z) for key, c in kind.theory.items() if key in shown and math.isfinite(c.z)]
    if scores:
        console.print(
            f"theory: exact means over these prompts; z: the difference in standard errors, {len(scores)} of them, "
            f"the largest {max(scores):.1f}"
        )
    key = max((k for k in shown if k.technique == "mean"), key=lambda k: (k.steps, k.samples), default=None)
    if key is None or kind.all_prompts is None or key not in kind.theory:
        return
    here = kind.theory[key].theory
    if kind.all_prompts > 2 * here:
        console.print(
            f"over all possible prompts the mean error of {key.samples} samples is {kind.all_prompts:.3g}, against "
            f"{here:.3g} of these: rare prompts whose chain diverges dominate it, so trust the median"
        )


def _cell(summary: Summary, comparison: Comparison | None = None) -> str:
    half = summary.ci_high - summary.mean
    interval = f" ±{half:.1g}" if math.isfinite(half) else ""
    cell = f"{summary.mean:.3g}{interval} ({summary.median:.3g})"
    if comparison is None:
        return cell
    score = f" z{round(comparison.z, 1) + 0.0:+.1f}" if math.isfinite(comparison.z) else ""  # no -0.0
    return f"{cell}\ntheory {comparison.theory:.3g}{score}"


def _knows_truth(kind: KindResult) -> bool:
    return any(key.metric == "squared_error" for key in kind.evaluation.scores)


def show_techniques() -> None:
    """Print every technique with its line and its source."""
    cells: dict[tuple[str, str], str] = {}
    for name, technique in TECHNIQUES.items():
        for_ = "binary" if technique.binary_only else "both"
        cells |= {(name, "about"): technique.about, (name, "coefficients"): for_, (name, "source"): technique.source}
    console = output.console()
    console.print(output.table("technique", cells))
    console.print(
        "from Python only, as they need a threshold: ttc_fast.rejection_search (von Neumann, 1951) and "
        "ttc_fast.techniques.Rejection"
    )


def _theory(kind: KindResult, key: Key) -> dict[str, float | None]:
    comparison = kind.theory.get(key)
    if comparison is None:
        return {"theory": None, "z": None}
    return output.finite(comparison._asdict())


def to_json(result: RunResult) -> str:
    """The result as JSON; numbers that are not finite become null."""
    config = asdict(result.config)
    for name in ("json", "quiet", "theory", "plot"):
        del config[name]
    config["prompts_file"] = None if result.config.prompts_file is None else str(result.config.prompts_file)
    records = [
        {
            "coefficients": kind.coefficients,
            **key._asdict(),
            **output.finite(summarize(score)._asdict()),
            "multiplications": sum(result.multiplications(kind, key)),
            **_theory(kind, key),
        }
        for kind in result.kinds
        for key, score in kind.evaluation.scores.items()
    ]
    document = {
        "config": config,
        "versions": {
            "ttc_fast": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
        "rng_layout": rng.LAYOUT,
        "backend": result.backend,
        "wall_time": result.wall_time,
        "throughput": {kind.coefficients: kind.throughput for kind in result.kinds},
        "unstable_prompts": {kind.coefficients: int(kind.evaluation.unstable.sum()) for kind in result.kinds},
        "records": records,
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"
