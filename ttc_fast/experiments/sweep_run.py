"""Sweeps of ``ttc-fast run``: prompts are units, and any of them can be computed by themselves."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from ..estimators.table import OPTIONAL, Table
from ..numerics import check, sums
from .config import OUTPUT, RunConfig
from .presets import PRESETS
from .rules import kinds
from .run import TILE, resolved, run
from .shards import digest_of_file
from .sweepable import Cost, Sweepable, Work

SLOW = 10.0
"""Seconds of a prompt, above which one measurement is enough."""

_OUTPUT = tuple(name for name in OUTPUT if name != "theory")

_NOT_OF_RESULTS = (*_OUTPUT, "prompts", "first_prompt")

_LINEAR = ("samples", "steps", "budgets")
_IDLE = (
    "seed", "prompts", "first_prompt", "label_noise", "noise_scale", "strength", "noise_schedule", "ridge",
    "temperature", "step_size", "wrong_by", "verifier_noise", "false_positive_rate", "prior", "covariance", *_OUTPUT,
)  # fmt: skip
"""Settings that make no kind: the time is linear in the first ones, and does not depend on the others."""


class Runs(Sweepable):
    """``[run]``: any setting of ``ttc-fast run``, and ``preset``."""

    output: Collection[str] = _OUTPUT
    unit = "prompts"
    metrics: tuple[str, ...] = ("squared_error",)
    units: Mapping[str, str] = {"steps": "thoughts", "samples": "samples a technique may spend"}

    def hints(self) -> Mapping[str, Any]:
        settings = {name: hint for name, hint in get_type_hints(RunConfig).items() if name not in _OUTPUT}
        return {"preset": str, **settings}

    def config(self, given: Mapping[str, Any]) -> RunConfig:
        settings = dict(given)
        name = settings.pop("preset", None)
        if name is not None:
            check.choice("preset", name, tuple(PRESETS))
        return replace(PRESETS[name] if name else RunConfig(), **settings)

    def work(self, config: RunConfig) -> Work:
        full = resolved(config)
        kind = tuple(getattr(full, field.name) for field in fields(full) if field.name not in (*_LINEAR, *_IDLE))
        first, size = full.first_prompt, steps_of(full)
        return Work(
            replace(config, backend=full.backend), settings_of(full), first, first + (full.prompts or 1), kind, size,
            size * len(kinds(full)),
        )  # fmt: skip

    def compute(self, config: RunConfig, start: int, stop: int, place: Path) -> Table:
        return compute(config, start, stop)

    def measured(self, work: Work) -> Cost:
        """From one prompt and from some, with a straight line to a whole tile; a run that is slow is not repeated."""
        most = min(TILE, work.stop - work.first)

        def timed(count: int) -> tuple[float, Table]:
            began = time.perf_counter()
            table = compute(work.config, work.first, work.first + count)
            return time.perf_counter() - began, table

        first, table = timed(1)
        if first > SLOW:
            return Cost(first, _bytes(table), len(table.keys))
        first, table = timed(1)  # what is loaded on first use has been loaded
        some = min(most, TILE if first < 0.02 else 8)
        if some > 1:
            more, table = timed(some)
            slope = max(more - first, 0.0) / (some - 1)
            first = max(first - slope, 0.0) + slope * most
        return Cost(first / most, _bytes(table), len(table.keys))


def settings_of(config: RunConfig) -> dict[str, Any]:
    """What decides the figures of settings, apart from which prompts are asked for; files by what is in them.

    Args:
        config: of :func:`ttc_fast.experiments.run.resolved`.
    """
    settings = {name: _plain(value) for name, value in asdict(config).items() if name not in _NOT_OF_RESULTS}
    for name, path in (("prompts_file", config.prompts_file), ("model", config.model)):
        if path is not None:
            settings[name] = digest_of_file(path)
    return settings


def _plain(value: Any) -> Any:
    """Equal numbers become equal texts in JSON."""
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    number = value.item() if hasattr(value, "item") else value
    return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 2**53 else number


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


def steps_of(config: RunConfig) -> int:
    """Coefficient-steps of each prompt, of one kind of coefficients.

    Args:
        config: of :func:`ttc_fast.experiments.run.resolved`.
    """
    return config.samples * max(max(config.steps), 1) * (config.dim or 1)


def _bytes(table: Table) -> float:
    """Of each prompt in a Parquet file: numbers that differ from prompt to prompt hardly shrink, others vanish."""
    arrays = [table.values, *(array for name in OPTIONAL if (array := getattr(table, name)) is not None)]
    differing = sum(int((array != array[:, :1]).any(1).sum()) for array in arrays if not np.isnan(array).all())
    return 8.0 * differing + 1.0 * len(table.keys)
