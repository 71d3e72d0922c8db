"""Standard output and error of a command: they may be closed, full, without a reader, or of a small alphabet."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator

from ..numerics.visible import tell

CLOSED_PIPE = 141
"""Exit status where nobody reads on, as a shell tells it of other tools."""


class OutputError(Exception):
    """Standard output takes no more."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output: cannot write: {cause.strerror or cause}")
        self.status = CLOSED_PIPE if cause.errno == errno.EPIPE else 1


def ensure() -> None:
    """Something to write to even if standard output or error is closed, so that no file of ours gets its number and
    with it what others print; and question marks for what the encoding of standard output lacks."""
    for handle in range(3):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which gets the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # until the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """While something is printed to standard output.

    Raises:
        OutputError: it takes no more; no other error than this is of the screen.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        raise OutputError(error) from error


def deliver(*writers: Callable[[], None], screen: Callable[[], None] | None) -> None:
    """Files first, all of them, then the screen: what one of them cannot take, the others still get.

    Args:
        writers: each writes a file.
        screen: prints; None: nothing is printed.

    Raises:
        Exception: the first that failed; the others are told.
    """
    failures: list[Exception] = []
    for write in (*writers, *([screen] if screen else [])):
        try:
            write()
        except (OSError, ValueError, MemoryError, ImportError, OutputError) as error:
            failures.append(error)
    for failure in failures[1:]:
        if not (isinstance(failure, OutputError) and failure.status == CLOSED_PIPE):
            tell(f"ttc-fast: error: {message(failure)}")
    if failures:
        raise failures[0]


def message(error: Exception) -> str:
    """What is told of an error, without the number that Python puts before it where the text names the file."""
    return (error.strerror if isinstance(error, OSError) and not error.filename else None) or str(error)


def finish(status: int) -> int:
    """The exit status once all that was printed is out; then nothing is left that Python would complain of at its end.

    Args:
        status: without that.
    """
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            failed = OutputError(error)
            if failed.status != CLOSED_PIPE and status == 0:
                tell(f"ttc-fast: error: {failed}")
            status = status or failed.status
            _drop(sys.stdout.fileno())
    if sys.stderr is not None:
        try:
            sys.stderr.flush()
        except OSError:
            _drop(sys.stderr.fileno())
    return status


def _drop(handle: int) -> None:
    """What is still buffered for an open file goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, handle)
    os.close(nowhere)
