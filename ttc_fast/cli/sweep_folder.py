"""The commands ``ttc-fast status`` and ``ttc-fast merge``: what a sweep has in its folder."""

from __future__ import annotations

from pathlib import Path

from ..experiments.config import MergeConfig, StatusConfig

MOST_ROWS = 20
"""Runs that are not complete, and failures, that status lists."""


def merge(config: MergeConfig) -> None:
    """Check and put together.

    Args:
        config: the settings.

    Raises:
        ValueError, OSError: with a message for the user.
    """
    from ..experiments.sweep import write_merged
    from . import console

    plan = write_merged(config.folder)
    if not config.quiet:
        console.show(f"{len(plan.runs)} runs are in {config.folder / 'table.parquet'}")


def status(config: StatusConfig) -> None:
    """Print how far it is.

    Args:
        config: the settings.

    Raises:
        ValueError, OSError: with a message for the user.
        SystemExit: with status 1, if it is not complete.
    """
    from . import console

    text, complete = status_text(config.folder)
    console.show(text)
    if not complete:
        raise SystemExit(1)


def status_text(folder: Path) -> tuple[str, bool]:
    """What status prints, and whether all is there.

    Args:
        folder: of the sweep.
    """
    from ..experiments.shards import Store
    from ..experiments.sweep import lacking
    from ..experiments.sweep_plan import current_plan
    from .console import aligned
    from .sweep import duration

    plan = current_plan(folder)
    store = Store(folder)
    absent: dict[str, int] = {}
    seconds = 0.0
    for one, block in lacking(plan, store):
        absent[one.label] = absent.get(one.label, 0) + block.stop - block.start
        seconds += (block.stop - block.start) * one.seconds
    with store.claim(None) as idle:
        working = "nobody is at work" if idle else "someone is at work"
    prompts = sum(one.prompts for one in plan.runs)
    done = prompts - sum(absent.values())
    lines = []
    if absent:
        totals = {one.label: one.prompts for one in plan.runs}
        rows = [[label, f"{totals[label] - n:,} of {totals[label]:,}"] for label, n in list(absent.items())[:MOST_ROWS]]
        lines.append(aligned(["run", plan.command.unit], rows))
    lines.append(
        f"{len(plan.runs) - len(absent):,} of {len(plan.runs):,} runs, {done:,} of {prompts:,} {plan.command.unit}"
    )
    failures = sorted((folder / "failed").glob("*.txt"))
    lines += [f"failed: {path.read_text(encoding='utf-8').strip()}" for path in failures[:MOST_ROWS]]
    if absent:
        lines.append(f"predicted for the rest, on one worker: {duration(seconds)}; {working}")
    elif not (folder / "table.parquet").exists():
        lines.append(f"complete, but not merged: ttc-fast merge {folder}")
    return "\n".join(lines), not absent and (folder / "table.parquet").exists()
