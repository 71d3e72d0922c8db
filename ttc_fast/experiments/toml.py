"""Studies as TOML files: sections of settings, whose unknown names are told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..numerics import check
from ..numerics.files import open_input

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """What a file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no TOML.
    """
    check.path("study", path)
    with open_input(path) as file:
        content = file.read()
    try:
        document: dict[str, Any] = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # also of what is no UTF-8
        raise ValueError(f"study: expected TOML in {path}: {error}") from error
    return document


def read_sections(path: Path, sections: Collection[str]) -> dict[str, dict[str, Any]]:
    """The sections of a file; one that it lacks is empty.

    Args:
        path: of the file.
        sections: that it may have.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no TOML, or has something else.
    """
    document = read_toml(path)
    for name, section in document.items():
        if name not in sections or not hasattr(section, "items"):
            wanted = ", ".join(f"[{one}]" for one in sections)
            raise ValueError(f"study: expected the sections {wanted} in {path}, got {name!r}")
    return {name: dict(document.get(name, {})) for name in sections}


def made(section: str, settings: Mapping[str, Any], make: Callable[..., T], known: Collection[str]) -> T:
    """What the settings of a section make.

    Args:
        section: its name, for the error.
        settings: by name.
        make: from them.
        known: names that it takes.

    Raises:
        TypeError, ValueError: a name is unknown, one is missing, or ``make`` refuses a value.
    """
    for name in settings:
        if name not in known:
            raise ValueError(f"[{section}] {name}: expected one of {', '.join(known)}, got {name!r}")
    try:
        return make(**settings)
    except TypeError as error:
        if "required" not in str(error):
            raise TypeError(f"[{section}] {error}") from error
        raise ValueError(f"[{section}]: expected {str(error).split(':')[-1].strip()}, got none") from error
    except ValueError as error:
        raise ValueError(f"[{section}] {error}") from error
