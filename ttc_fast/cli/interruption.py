"""Ctrl-C: one line and exit status 130, whenever it comes."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # as typing has it; until the imports here are done, Ctrl-C is a traceback
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import NoReturn

STATUS = 130
"""As a shell tells it."""


def text(arguments: Sequence[str]) -> str:
    """What is told of an interruption: files that are written stay, and a reproduction goes on from its parts."""
    written = _files("WRITTEN")
    if arguments[:1] in (["reproduce"], ["sweep"]):
        return "interrupted; the parts that are done are kept, give the same command again to go on"
    return f"interrupted, after {', '.join(written)} was written" if written else "interrupted, nothing was written"


def install() -> None:
    """From now on an import that is interrupted ends the process; elsewhere Ctrl-C raises KeyboardInterrupt as always.

    Extension modules turn a KeyboardInterrupt at their import into other errors, or lose it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as with nohup
        signal.signal(signal.SIGINT, _handle)


def ignore() -> None:
    """The work is done: Ctrl-C changes nothing any more."""
    if signal.getsignal(signal.SIGINT) is _handle:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _handle(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            end()
        frame = frame.f_back
    raise KeyboardInterrupt


def end() -> NoReturn:
    """Say so and end at once, without a draft of a file left behind."""
    try:
        for draft in _files("DRAFTS"):
            if os.path.exists(draft):
                os.unlink(draft)
        shown = "\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else ""  # the cursor, which bars hide
        os.write(2, f"{shown}ttc-fast: {text(sys.argv[1:])}\n".encode("utf-8", "replace"))
    finally:  # standard error may be closed
        os._exit(STATUS)


def _files(name: str) -> tuple[str, ...]:
    """Of the module that writes files, if it is imported to its end."""
    return tuple(getattr(sys.modules.get("ttc_fast.numerics.files"), name, ()))
