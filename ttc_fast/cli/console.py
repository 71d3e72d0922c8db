"""What the commands have in common: progress, tables, files."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import rich.box
import rich.progress
from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 118
"""Columns of the tables where the output is no terminal."""


Row = TypeVar("Row", int, str)


def console() -> Console:
    """For what a command prints."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def notice(text: str) -> None:
    """Something to know before a long wait, on stderr."""
    print(f"ttc-fast: note: {text}", file=sys.stderr)


@contextlib.contextmanager
def progress(*, quiet: bool, verb: str) -> Iterator[Callable[[str, float], None]]:
    """Reports progress on standard error: a bar on a terminal, a line per quarter elsewhere, such as
    ``binary: 25 % decoded`` with the verb ``decoded``."""
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
                print(f"{kind}: {25 * quarters[kind]} % {verb}", file=sys.stderr)

        yield line


def table(rows: str, cells: Mapping[tuple[Row, str], str]) -> Table:
    """Cells by (row, column); a missing one stays empty."""
    names: list[str] = list(dict.fromkeys(name for _, name in cells))
    result = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for name in (rows, *names):
        result.add_column(name, overflow="fold")
    for row in dict.fromkeys(row for row, _ in cells):
        result.add_row(str(row), *(cells.get((row, name), "") for name in names))
    return result


def short(count: int) -> str:
    """A count in three digits: 999, 1.02k, 16.8M."""
    size = float(count)
    for unit in ("", "k", "M", "G", "T"):
        if size < 999.5:
            return f"{size:.3g}{unit}"
        size /= 1000
    return f"{size:.3g}P"


def finite(fields: Mapping[str, Any]) -> dict[str, Any]:
    """For JSON, which has no infinity and no NaN: they become None."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in fields.items()}


def check_writable(path: Path, name: str = "json") -> None:
    """Raise OSError now, before hours of work, if ``path`` cannot become a file; ``name`` is the option's."""
    if path.is_dir():
        raise IsADirectoryError(f"{name}: expected a file, got the folder {path}")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}: expected a file in a folder that exists, got {path}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise PermissionError(f"{name}: no permission to write {path}")


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
