"""The command ``ttc-fast sweep``."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..experiments.config import SweepConfig
from ..numerics.visible import tell

if TYPE_CHECKING:
    from ..experiments.driver import Snapshot, Watch
    from ..experiments.sweep_plan import SweepPlan

EVERY = 10.0
"""Seconds between lines where there is no terminal."""

MOST_ROWS = 20
"""Runs that a dry run lists."""


def main(config: SweepConfig) -> None:
    """Plan, compute what is missing, merge.

    Args:
        config: the settings.

    Raises:
        ValueError, TypeError, OSError: with a message for the user.
    """
    from ..experiments import sweep
    from ..experiments.driver import drive
    from ..experiments.grid import load_points, study_file
    from ..experiments.shards import Store
    from ..experiments.sweep_plan import prepare
    from ..numerics import files
    from ..numerics.progress import reporting
    from . import console

    part = sweep.checked_part(_part(config.shard))
    study = study_file(config.study)
    found = load_points(study)
    with reporting(not config.quiet) as report:
        prepared = prepare(found, config.out, report, dry=config.dry_run)
    if config.dry_run:
        console.show(plan_text(prepared.plan, config.workers))
        return
    store = Store(config.out)
    files.write(config.out / "study.toml", study.read_bytes(), "out")
    with watching(config.quiet) as watch:
        drive(
            prepared, store, lambda most: sweep.make_engine(config.engine, config.workers, config.address, most), part,
            watch,
        )  # fmt: skip
    if sweep.complete(prepared.plan, store):
        sweep.write_merged(config.out)
        line = f"{len(prepared.plan.runs)} runs are in {config.out / 'table.parquet'}"
    else:
        line = f"part {part[0]} of {part[1]} is complete; other parts are not: ttc-fast status {config.out}"
    if not config.quiet:
        console.show(line)


def _part(text: str | None) -> tuple[int, int] | None:
    """Of ``i/n``."""
    if text is None:
        return None
    try:
        i, n = map(int, text.split("/"))
    except ValueError as error:
        raise ValueError(f"shard: expected I/N such as 2/10, got {text!r}") from error
    return i, n


def plan_text(plan: SweepPlan, workers: int | None) -> str:
    """What ``--dry-run`` shows.

    Args:
        plan: of the study.
        workers: at a time; None: one for each processor.
    """
    from ..experiments.engines import cpus
    from .console import aligned

    names = list(plan.runs[0].varied)
    rows = [
        [*(str(one.varied[name]) for name in names), f"{one.prompts:,}", duration(one.prompts * one.seconds)]
        for one in plan.runs[:MOST_ROWS]
    ]
    lines = [aligned([*names, plan.command.unit, "time on one worker"], rows)]
    if len(plan.runs) > MOST_ROWS:
        lines.append(f"... and {len(plan.runs) - MOST_ROWS:,} more runs")
    blocks, count = plan.blocks(), workers or cpus()
    longest = max((block.stop - block.start) * one.seconds for one, block in blocks)
    wall = max(plan.seconds / count, longest)
    lines.append(
        f"{len(plan.runs):,} runs, {len(blocks):,} shards of up to {duration(longest)}; predicted: "
        f"{duration(wall)} with {count} workers, {size(plan.bytes)} of disk; nothing was computed or written"
    )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Such as 1.5 s, 12 min or 3.2 h.

    >>> duration(0.02), duration(90), duration(300000)
    ('0.02 s', '1.5 min', '83 h')
    """
    for unit, length in (("s", 60.0), ("min", 60.0)):
        if seconds < length:
            return f"{seconds:.2g} {unit}"
        seconds /= length
    return f"{seconds:,.2g} h" if seconds < 10 else f"{seconds:,.0f} h"


def size(count: float) -> str:
    """Bytes in a unit that fits.

    >>> size(1.5e6)
    '1.5 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


@contextlib.contextmanager
def watching(quiet: bool) -> Iterator[Watch]:
    """A live table on a terminal, plain lines elsewhere.

    Args:
        quiet: nothing.
    """
    if quiet:
        yield lambda now: now.notes.clear()
    elif sys.stderr is not None and sys.stderr.isatty():
        with _live() as watch:
            yield watch
    else:
        yield _lines()


def _told(now: Snapshot) -> None:
    while now.notes:
        tell(f"ttc-fast: note: {now.notes.pop(0)}")


def _lines() -> Watch:
    last = [time.monotonic() - EVERY, -1]

    def watch(now: Snapshot) -> None:
        _told(now)
        ended = now.done == now.shards
        if now.done != last[1] and (ended or time.monotonic() - last[0] >= EVERY):
            last[:] = [time.monotonic(), now.done]
            tell("sweep: " + ", ".join(f"{name} {value}" for name, value in facts(now)))

    return watch


def facts(now: Snapshot) -> list[tuple[str, str]]:
    """What is shown of a sweep that is running."""
    rate = now.rate / 1e6
    text = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return [
        ("runs", f"{now.runs_done:,} of {now.runs:,}"),
        ("shards", f"{now.done:,} of {now.shards:,}"),
        ("running", f"{now.running}"),
        *([("million coefficient-steps per second", text)] if now.counted else []),
        ("time left", "unknown" if now.left is None else duration(now.left)),
        ("failures", f"{now.failures}"),
    ]


@contextlib.contextmanager
def _live() -> Iterator[Watch]:
    import rich.box
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    def table(now: Snapshot) -> Table:
        made = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for name, _ in facts(now):
            made.add_column(name, overflow="fold")
        made.add_row(*(value for _, value in facts(now)))
        return made

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:

        def watch(now: Snapshot) -> None:
            _told(now)
            live.update(table(now), refresh=True)

        yield watch
