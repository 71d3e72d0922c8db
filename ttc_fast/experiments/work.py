"""What a worker of a sweep does: from settings and units to a shard; and what decides the results of settings."""

from __future__ import annotations

import errno
import json
import os
import time
from typing import Any, Literal, NamedTuple

from .. import __version__
from ..numerics import extension, rng
from .shards import Block, Store, digest
from .sweepable import Sweepable, Work

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""Of the folder: no other shard can be written either."""


class Task(NamedTuple):
    """What a worker is told."""

    folder: str
    block: Block
    command: Sweepable
    config: Any
    """Of :class:`Work`."""
    isa: str | None
    """The instruction set that all shards of a sweep are computed with."""


class Outcome(NamedTuple):
    """What became of a task."""

    state: Literal["made", "there", "busy", "transient", "full", "wrong"]
    """Made; there already; someone else is at it. Or an error: that may pass, of a full disk, of the settings."""
    seconds: float = 0.0
    text: str = ""
    """Of the error."""
    content: bytes = b""
    """The shard, where the worker does not see the folder."""


def identity(work: Work, isa: str | None) -> dict[str, Any]:
    """What decides the figures of some work, apart from which units are asked for.

    Args:
        work: of a command.
        isa: the instruction set of the C++ extension; None without it.
    """
    facts = {"ttc_fast": __version__, "rng_layout": rng.LAYOUT, "instruction_set": isa, **work.facts}
    return {**facts, "settings": work.settings}


def key_of(work: Work, isa: str | None) -> str:
    """The hash of :func:`identity`, in 16 hexadecimal digits.

    Args:
        work, isa: as there.
    """
    return digest(json.dumps(identity(work, isa), sort_keys=True).encode())


def used_isa() -> str | None:
    """The instruction set in use here; None without the C++ extension."""
    return None if extension.module is None else extension.isa()


def attempt(task: Task) -> Outcome:
    """Compute a shard, unless it is there or someone is at it. Errors are told, not raised.

    Args:
        task: what to do.
    """
    if task.isa is not None:
        os.environ[extension.ISA_VARIABLE] = task.isa
    try:
        store = Store(task.folder)
        with store.claim(task.block) as mine:
            if not mine:
                return Outcome("busy")
            if any(shard.block == task.block for shard in store.listed(task.block.key)):
                return Outcome("there")
            began = time.perf_counter()
            block = task.block
            place = store.folder / "kept" / block.key
            store.save(task.command.compute(task.config, block.start, block.stop, place), block)
            return Outcome("made", time.perf_counter() - began)
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> Outcome:
    """What an error means for the other shards."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        return Outcome("full" if error.errno in _FULL else "transient", text=text)
    passing = isinstance(error, MemoryError) or "out of memory" in str(error)
    return Outcome("transient" if passing else "wrong", text=text)
