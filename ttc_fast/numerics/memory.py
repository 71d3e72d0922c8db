"""How much memory this process may still use, and the check that work fits into it before the work begins."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

UNKNOWN = sys.maxsize
"""Where no limit is known."""


def available() -> int:
    """Bytes that this process may still use: the least of physical memory, the limits of its control groups (versions
    1 and 2) and ``ulimit -v`` and ``-d``, each less what the process uses already.

    >>> available() > 0
    True
    """
    return min((left for _, left in _limits()), default=UNKNOWN)


def check_memory(needed: int, what: str, remedy: str, *, share: float = 1.0) -> None:
    """Nothing, if ``needed`` bytes fit; better an error now than a killed process later.

    Args:
        needed: bytes.
        what: needs them, such as ``"samples: the candidates of one prompt"``, for the error.
        remedy: for the error.
        share: of what is available that may be asked for.

    Raises:
        ValueError: they do not; the message says how much there is, which limit that is, and the remedy.
    """
    name, left = min(_limits(), key=lambda limit: limit[1], default=("", UNKNOWN))
    if needed > left * share:
        part = "" if share == 1 else f"{share:.0%} of "
        raise ValueError(
            f"{what}: expected to need at most {part}the {_size(left)} of memory that this process may still use "
            f"({name}), got {_size(needed)}; {remedy}"
        )


def _size(count: float) -> str:
    """Bytes in a unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 999.5 else f"{count:,.0f} TB"


def _limits() -> Iterator[tuple[str, int]]:
    """Every limit that is known: its name, and the bytes that are left of it."""
    used, space, data = _used()
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not known on this system
        yield "physical memory", max(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - used, 0)
    for limit in _control_groups():
        yield "limit of the control group", max(limit - used, 0)
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, kind, use in (("ulimit -v", resource.RLIMIT_AS, space), ("ulimit -d", resource.RLIMIT_DATA, data)):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            yield name, max(soft - use, 0)


def _used(file: Path = Path("/proc/self/statm")) -> tuple[int, int, int]:
    """Bytes that this process has: in memory, of address space, of data; 0 where the system does not say."""
    try:
        pages = [int(field) for field in file.read_text().split()]
        size = os.sysconf("SC_PAGE_SIZE")
        return pages[1] * size, pages[0] * size, pages[5] * size
    except (OSError, ValueError, IndexError, AttributeError):
        return 0, 0, 0


def _control_groups(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Limits in bytes of the control groups of this process and of those above them.

    Args:
        own: names the groups; a container may see names that are not below its root, and then the root's count.
        root: of the groups.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if number == "0" and not controllers:
            folder, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in place.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            try:
                text = folder.joinpath(*parts[:depth], name).read_text().strip()
            except OSError:
                continue
            if text.isdecimal():  # else "max"
                yield int(text)
