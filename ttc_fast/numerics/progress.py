"""Progress of long work, reported the same way everywhere: a stage and the share of it that is done.

Every function that may take long has an argument ``progress``: False (the default) is silence, True shows it on
standard error, and a function ``(stage: str, share: float) -> None`` is called with it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TextIO, TypeAlias, cast

from .visible import tell, visible, write_error

Report: TypeAlias = Callable[[str, float], None]
"""Called with a stage, such as ``"continuous"``, and the share of it that is done, from 0 to 1."""


def ignore(stage: str, share: float) -> None:
    """A report that nobody reads.

    Args:
        stage, share: as of every report.
    """


@contextlib.contextmanager
def reporting(progress: bool | Report) -> Iterator[Report]:
    """What ``progress`` stands for, for as long as the work takes.

    Args:
        progress: False, True, or a function; see above. True is a bar for each stage on a terminal, one line that
            is rewritten in a notebook, and elsewhere a line for each quarter, such as ``binary: 25 %``.

    Raises:
        TypeError: it is none of them.

    >>> with reporting(lambda stage, share: print(stage, share)) as report:
    ...     report("reading", 0.5)
    reading 0.5
    """
    if callable(progress):
        yield progress
    elif not isinstance(progress, bool):
        raise TypeError(f"progress: expected True, False or a function of a stage and a share, got {progress!r}")
    elif not progress:
        yield ignore
    elif _is_terminal(sys.stderr):
        with _bars() as report:
            yield report
    else:
        yield _rewritten() if "ipykernel" in sys.modules else _lines()


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not getattr(stream, "closed", False) and stream.isatty()


class _Lenient:
    """A stream whose failures are nobody's business."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.encoding = stream, stream.encoding

    def write(self, text: str) -> int:
        write_error(text, self._stream)
        return len(text)

    def flush(self) -> None:
        write_error("", self._stream)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


@contextlib.contextmanager
def _bars() -> Iterator[Report]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, TaskID

    # A terminal that is gone takes no more bars; the work goes on.
    with Progress(console=Console(file=cast(TextIO, _Lenient(sys.stderr))), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(escape(visible(stage)), total=1.0)
            bars.update(tasks[stage], completed=share)

        yield report


def _rewritten() -> Report:
    """A carriage return is all that every notebook understands without further packages."""
    shown: dict[str, int] = {}

    def report(stage: str, share: float) -> None:
        if int(100 * share) > shown.get(stage, -1):
            shown[stage] = int(100 * share)
            write_error(f"\r{visible(stage)}: {shown[stage]:3d} %" + "\n" * (share >= 1))

    return report


def _lines() -> Report:
    quarters: dict[str, int] = {}

    def report(stage: str, share: float) -> None:
        if int(4 * share) > quarters.get(stage, 0):
            quarters[stage] = int(4 * share)
            tell(f"{stage}: {25 * quarters[stage]} %")

    return report
