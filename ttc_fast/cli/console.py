"""What the commands have in common on the terminal: progress, tables, numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..numerics.visible import tell, visible
from .streams import printing

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDTH = 80
"""Columns of a screen."""

PLAIN_WIDTH = 118
"""Columns of wide tables where the output is no terminal."""

Row = TypeVar("Row", int, str)


def console() -> Console:
    """For what a command prints; control characters in it are shown, in the cells of tables too."""
    from rich.console import Console

    class Screen(Console):
        def render_str(self, text: str, **settings: Any) -> Text:
            return super().render_str(visible(text, keep="\n"), **settings)

        def print(self, *objects: Any, **settings: Any) -> None:
            with printing():
                super().print(*objects, **settings)

        def on_broken_pipe(self) -> None:
            raise  # the BrokenPipeError, of which rich would make an exit

    return Screen(highlight=False, emoji=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def show(text: str) -> None:
    """Print lines to stdout: control characters are shown, and question marks stand for what its encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    with printing():
        print(visible(text, keep="\n").encode(encoding, "replace").decode(encoding))


def notice(text: str) -> None:
    """Something to know before a long wait, on stderr."""
    tell(f"ttc-fast: note: {text}")


def table(rows: str, cells: Mapping[tuple[Row, str], str]) -> Table:
    """A table of cells by (row, column); a missing one stays empty.

    Args:
        rows: heading of the first column.
        cells: their texts.
    """
    import rich.box
    from rich.table import Table

    names: list[str] = list(dict.fromkeys(name for _, name in cells))
    result = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    result.add_column(rows, no_wrap=True)
    for name in names:
        result.add_column(name, overflow="fold")
    for row in dict.fromkeys(row for row, _ in cells):
        result.add_row(str(row), *(cells.get((row, name), "") for name in names))
    return result


def aligned(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of columns: the first to the left, the others to the right, the heading underlined.

    Args:
        heading: of each column.
        rows: their cells.
    """
    widths = [max(map(len, column)) for column in zip(heading, *rows)]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths)]
        return "  ".join((cells[0].ljust(widths[0]), *padded[1:])).rstrip()

    return "\n".join((line(heading), "─" * (sum(widths) + 2 * len(widths) - 2), *map(line, rows)))


def evenly(values: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of some ascending values, the first and the last among them.

    Args:
        values: ascending.
        count: at least 2.

    >>> evenly([1, 2, 4, 8, 16], 3)
    [1, 4, 16]
    """
    if len(values) <= count:
        return list(values)
    last = len(values) - 1
    return [values[round(i * last / (count - 1))] for i in range(count)]


def with_error(value: float, error: float) -> str:
    """A figure with its standard error in the last digit, as in 0.0284(4).

    Args:
        value: the figure.
        error: its standard error; where it is 0 or unknown, three digits of the value.

    >>> with_error(0.02841, 0.00043), with_error(0.000231, 0.0000178), with_error(1234.5, 20.2), with_error(0.5, 0.0)
    ('0.0284(4)', '2.3(2)e-4', '1230(20)', '0.5')
    """
    if not (math.isfinite(value) and math.isfinite(error)) or error < sys.float_info.min:
        return f"{value:.3g}"
    digit, place = _digit_and_place(error)
    rounded = round(value, -place) + 0.0  # no -0.0
    leading = max(_digit_and_place(rounded)[1], place) if rounded else place
    if leading >= -3 and place < 0:
        return f"{rounded:.{-place}f}({digit})"
    if place >= 0 and leading < 5:
        return f"{rounded:.0f}({digit * 10**place})"
    return f"{rounded / 10.0**leading:.{leading - place}f}({digit})e{leading}"


def _digit_and_place(value: float) -> tuple[int, int]:
    """The first digit of a figure once it is rounded to it, and its power of ten."""
    digit, place = f"{abs(value):.0e}".split("e")
    return int(digit), int(place)


def short(count: int) -> str:
    """A count in three digits: 999, 1.02k, 16.8M.

    >>> short(1023), short(16_777_216)
    ('1.02k', '16.8M')
    """
    size = float(count)
    for unit in ("", "k", "M", "G", "T"):
        if size < 999.5:
            return f"{size:.3g}{unit}"
        size /= 1000
    return f"{size:.3g}P"
