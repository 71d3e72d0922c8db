"""Text from outside on a terminal: what would act on it, or hide text, is shown instead; and standard error, which may
be gone.

Names and contents of files, and all messages that quote them, are a stranger's: a log may hold escape sequences that
colour, move, retitle or paste.
"""

from __future__ import annotations

import contextlib
import re
import sys
from typing import TextIO

_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Control characters of C0 and C1, delete, marks and overrides of direction, breaks of lines and paragraphs, what has
no width, and halves of surrogate pairs."""

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str, keep: str = "") -> str:
    r"""The text with its control characters as escapes.

    Args:
        text: from anywhere.
        keep: control characters that may stay, such as the ends of lines of a text of several.

    >>> visible("\x1b[2J\u202eabc\n")
    '\\x1b[2J\\u202eabc\\n'
    """

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        if character in keep:
            return character
        code = ord(character)
        return _SHORT.get(character, f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")

    return _HARMFUL.sub(escape, text)


def tell(text: str, end: str = "\n") -> None:
    """Print one line to standard error; if that is closed, full, or nobody reads it, the work goes on all the same.

    Args:
        text: of one line; control characters are shown.
        end: what follows it.
    """
    write_error(visible(text) + end)


def write_error(text: str, stream: TextIO | None = None) -> None:
    """Text as it is, if there is a stream that takes it.

    Args:
        text: of any kind.
        stream: default standard error.
    """
    stream = sys.stderr if stream is None else stream
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed
            encoding = getattr(stream, "encoding", None) or "utf-8"
            stream.write(text.encode(encoding, "replace").decode(encoding))
            stream.flush()
