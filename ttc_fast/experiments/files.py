"""Files that are written whole or not at all, and numbers that JSON can hold."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def check_writable(path: Path, name: str = "json") -> None:
    """Raise now, before hours of work, if ``path`` cannot become a file.

    Args:
        path: of the file.
        name: of the option, for the error.

    Raises:
        OSError: it cannot.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{name}: expected a file, got the folder {path}")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}: expected a file in a folder that exists, got {path}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise PermissionError(f"{name}: no permission to write {path}")


def write(path: Path, content: str | bytes, name: str = "json") -> None:
    """Write ``content`` to ``path`` whole or not at all.

    Args:
        path: of the file, or of a device or pipe.
        content: text, which is encoded as UTF-8, or bytes.
        name: of the option, for the error.

    Raises:
        OSError: it cannot be written; the message names the path.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.exists() and not path.is_file():  # a device or a pipe: nothing that could be replaced
            path.write_bytes(data)
            return
        target = path.resolve()
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with open(draft, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"{name}: cannot write {path}: {error.strerror}") from error


def finite(fields: Mapping[str, Any]) -> dict[str, Any]:
    """For JSON, which has no infinity and no NaN: they become None."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in fields.items()}
