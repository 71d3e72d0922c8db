"""What a worker of a sweep does: from settings and prompts to a shard; and what decides the results of settings."""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import asdict, replace
from typing import Any, Literal, NamedTuple

from .. import __version__
from ..estimators.table import Table
from ..numerics import extension, rng, sums
from ..numerics.files import open_input
from .config import RunConfig
from .run import TILE, run
from .shards import Block, Store, digest

_NOT_OF_RESULTS = ("full", "plot", "save", "json", "quiet", "prompts", "first_prompt")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""Of the folder: no other shard can be written either."""


class Task(NamedTuple):
    """What a worker is told."""

    folder: str
    block: Block
    config: RunConfig
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


def identity(config: RunConfig, isa: str | None) -> dict[str, Any]:
    """What decides the results of settings, apart from which prompts are asked for.

    Args:
        config: of :func:`ttc_fast.experiments.run.resolved`.
        isa: the instruction set of the C++ extension; None without it.
    """
    settings = {name: _plain(value) for name, value in asdict(config).items() if name not in _NOT_OF_RESULTS}
    for name, path in (("prompts_file", config.prompts_file), ("model", config.model)):
        if path is not None:
            with open_input(path) as file:
                settings[name] = digest(file.read())
    facts = {"ttc_fast": __version__, "rng_layout": rng.LAYOUT, "instruction_set": isa}
    return {**facts, "settings": settings}


def key_of(config: RunConfig, isa: str | None) -> str:
    """The hash of :func:`identity`, in 16 hexadecimal digits.

    Args:
        config, isa: as there.
    """
    return digest(json.dumps(identity(config, isa), sort_keys=True).encode())


def _plain(value: Any) -> Any:
    """Equal numbers become equal texts in JSON."""
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    number = value.item() if hasattr(value, "item") else value
    return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 2**53 else number


def used_isa() -> str | None:
    """The instruction set in use here; None without the C++ extension."""
    return None if extension.module is None else extension.isa()


def compute(config: RunConfig, start: int, stop: int) -> Table:
    """Figures of prompts ``start`` to ``stop``, a tile at a time: laws that many prompts would make too dear are in
    them however the prompts are divided.

    Args:
        config: settings of a run.
        start, stop: global indices.
    """
    parts = [
        run(replace(config, first_prompt=start + tile.start, prompts=tile.stop - tile.start)).table
        for tile in sums.tiles(stop - start, TILE)
    ]
    return Table.concat(parts)


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
            store.save(compute(task.config, task.block.start, task.block.stop), task.block)
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
