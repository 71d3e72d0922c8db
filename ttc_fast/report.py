"""A run's output: progress, tables, JSON."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy
import rich.box
import rich.progress
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import __version__, rng
from .estimators import Summary, summarize
from .evaluate import Key
from .experiment import KindResult, RunResult
from .techniques import TECHNIQUES

PLAIN_WIDTH = 118
"""Columns of the tables where the output is no terminal."""


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """Reports progress on standard error: a bar on a terminal, a line per quarter elsewhere."""
    if quiet:
        yield lambda kind, share: None
    elif sys.stderr.isatty():
        with rich.progress.Progress(console=Console(stderr=True), transient=True) as bars:
            tasks: dict[str, rich.progress.TaskID] = {}

            def advance(kind: str, share: float) -> None:
                if kind not in tasks:
                    tasks[kind] = bars.add_task(kind, total=1.0)
                bars.update(tasks[kind], completed=share)

            yield advance
    else:
        quarters: dict[str, int] = {}

        def line(kind: str, share: float) -> None:
            if int(4 * share) > quarters.get(kind, 0):
                quarters[kind] = int(4 * share)
                print(f"{kind}: {25 * quarters[kind]} % decoded", file=sys.stderr)

        yield line


def notice(text: str) -> None:
    """Something to know before a long wait, on stderr."""
    print(f"ttc-fast: note: {text}", file=sys.stderr)


def show(result: RunResult) -> None:
    """Print what ran, the tables and the throughput."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
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
    cells = {key: _cell(summarize(score)) for key, score in evaluation.scores.items() if key.metric == metric}
    fixed = [name for name, technique in TECHNIQUES.items() if not technique.uses_budget]
    last = max(config.steps)
    console.print(f"\n[bold]{kind.coefficients} coefficients[/bold], {escape(str(kind.rule))}")
    console.print(f"{metric}: mean over {config.prompts} prompts ± half of its 95 % interval (median)\n")

    console.print(
        f"more samples, at {last} steps; " + ", ".join(f"{f}: {cells[Key(f, last, 1, metric)]}" for f in fixed)
    )
    by_samples = {k: v for k, v in cells.items() if k.steps == last and k.technique not in fixed}
    console.print(_table("samples", {(k.samples, k.technique): v for k, v in by_samples.items()}))
    console.print(f"more thoughts, with {config.samples} samples")
    by_steps = {k: v for k, v in cells.items() if k.samples == config.samples}
    console.print(_table("steps", {(k.steps, k.technique): v for k, v in by_steps.items()}))

    if not _knows_truth(kind) and config.samples > 1:
        spread = _cell(summarize(evaluation.scores[Key("single", last, 1, "disagreement")]))
        console.print(f"disagreement of two samples (mean squared difference per coefficient): {spread}")
    unstable = int(evaluation.unstable.sum())
    if unstable and kind.coefficients == "continuous":  # bits cannot diverge
        console.print(
            f"{unstable} of {config.prompts} prompts make the chain diverge, the step being too large for them: "
            "trust the median, or take a smaller --step-size"
        )
    console.print(f"decoded {kind.throughput / 1e6:,.1f} million coefficient-steps per second")


def _table(rows: str, cells: dict[tuple[int, str], str]) -> Table:
    """Cells by (row, technique)."""
    names = list(dict.fromkeys(technique for _, technique in cells))
    table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for name in (rows, *names):
        table.add_column(name, overflow="fold")
    for row in sorted({row for row, _ in cells}):
        table.add_row(str(row), *(cells[row, name] for name in names))
    return table


def _cell(summary: Summary) -> str:
    half = summary.ci_high - summary.mean
    interval = f" ±{half:.1g}" if math.isfinite(half) else ""
    return f"{summary.mean:.3g}{interval} ({summary.median:.3g})"


def _knows_truth(kind: KindResult) -> bool:
    return any(key.metric == "squared_error" for key in kind.evaluation.scores)


def to_json(result: RunResult) -> str:
    """The result as JSON; numbers that are not finite become null."""
    config = asdict(result.config)
    for name in ("json", "quiet"):
        del config[name]
    config["prompts_file"] = None if result.config.prompts_file is None else str(result.config.prompts_file)
    records = [
        {"coefficients": kind.coefficients, **key._asdict(), **_finite(summarize(score)._asdict())}
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


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def check_writable(path: Path) -> None:
    """Raise OSError now, before hours of work, if ``path`` cannot become a file."""
    if path.is_dir():
        raise IsADirectoryError(f"json: expected a file, got the folder {path}")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"json: expected a file in a folder that exists, got {path}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise PermissionError(f"json: no permission to write {path}")


def write(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` whole or not at all.

    Raises:
        OSError: it cannot be written; the message names the path.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe: nothing that could be replaced
            path.write_text(text, encoding="utf-8")
            return
        target = path.resolve()
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with open(draft, "x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"json: cannot write {path}: {error.strerror}") from error
