"""What the settings of a sweep will cost: a measured second of each kind, and straight lines from there."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple

import numpy as np

from ..estimators.table import OPTIONAL, Table
from ..numerics.progress import Report
from .config import RunConfig
from .run import TILE
from .work import compute

TARGET = 20.0
"""Seconds that a shard should take, more or less by half."""

MOST_FIGURES = 2**20
"""Of a shard, all keys and prompts: what a worker holds in memory."""

MOST_KINDS = 24
"""That are measured; others take the cost of the most similar one."""

SLOW = 10.0
"""Seconds of a prompt, above which one measurement is enough."""

_LINEAR = ("samples", "steps", "budgets")
_IDLE = (
    "seed", "prompts", "first_prompt", "label_noise", "noise_scale", "strength", "noise_schedule", "ridge",
    "temperature", "step_size", "wrong_by", "verifier_noise", "false_positive_rate", "prior", "covariance",
    "full", "plot", "save", "json", "quiet",
)  # fmt: skip
"""Settings that make no kind: the time is linear in the first ones, and does not depend on the others."""


class Cost(NamedTuple):
    """Of each prompt of some settings."""

    seconds: float
    bytes: float
    figures: int
    """Rows of its table: keys."""


def steps_of(config: RunConfig) -> int:
    """Coefficient-steps of each prompt, of one kind of coefficients.

    Args:
        config: of :func:`ttc_fast.experiments.run.resolved`.
    """
    return config.samples * max(max(config.steps), 1) * (config.dim or 1)


def costs(configs: Sequence[RunConfig], report: Report) -> list[Cost]:
    """The costs of some settings, from measurements of the smallest and the largest of each kind.

    Args:
        configs: of :func:`ttc_fast.experiments.run.resolved`.
        report: is told of the progress.
    """
    groups: defaultdict[tuple[object, ...], list[RunConfig]] = defaultdict(list)
    for config in configs:
        groups[_kind(config)].append(config)
    kinds = list(groups)
    measured: dict[tuple[object, ...], tuple[list[int], list[Cost]]] = {}
    chosen = [kinds[i] for i in sorted({round(i) for i in np.linspace(0, len(kinds) - 1, min(len(kinds), MOST_KINDS))})]
    for i, kind in enumerate(chosen):
        ends = sorted({steps_of(config): config for config in groups[kind]}.items(), key=lambda pair: pair[0])
        ends = [ends[0], ends[-1]] if len(ends) > 1 else ends
        measured[kind] = ([work for work, _ in ends], [_measured(config) for _, config in ends])
        report("measuring", (i + 1) / len(chosen))
    return [_interpolated(config, *measured[_nearest(_kind(config), measured)]) for config in configs]


def _kind(config: RunConfig) -> tuple[object, ...]:
    return tuple(getattr(config, field.name) for field in fields(config) if field.name not in (*_LINEAR, *_IDLE))


def _nearest(kind: tuple[object, ...], measured: Mapping[tuple[object, ...], object]) -> tuple[object, ...]:
    if kind in measured:
        return kind
    return min(measured, key=lambda other: sum(a != b for a, b in zip(kind, other)))


def _interpolated(config: RunConfig, work: list[int], found: list[Cost]) -> Cost:
    seconds, size, figures = (float(np.interp(steps_of(config), work, [cost[i] for cost in found])) for i in range(3))
    return Cost(seconds, size, round(figures))


def _measured(config: RunConfig) -> Cost:
    """From one prompt and from some, with a straight line to a whole tile; a run that is slow is not repeated."""
    most = min(TILE, config.prompts or TILE)

    def timed(count: int) -> tuple[float, Table]:
        began = time.perf_counter()
        table = compute(config, config.first_prompt, config.first_prompt + count)
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


def _bytes(table: Table) -> float:
    """Of each prompt in a Parquet file: numbers that differ from prompt to prompt hardly shrink, others vanish."""
    arrays = [table.values, *(array for name in OPTIONAL if (array := getattr(table, name)) is not None)]
    differing = sum(int((array != array[:, :1]).any(1).sum()) for array in arrays if not np.isnan(array).all())
    return 8.0 * differing + 1.0 * len(table.keys)


def block_size(cost: Cost) -> int:
    """Prompts of a shard: a power of two, so that it takes :data:`TARGET` seconds, more or less by half.

    Args:
        cost: of a prompt.

    >>> block_size(Cost(seconds=0.01, bytes=100.0, figures=10))
    2048
    """
    fitting = min(TARGET * 1.4 / max(cost.seconds, 1e-9), MOST_FIGURES / max(cost.figures, 1))
    return 1 << max(0, int(np.log2(max(fitting, 1.0))))
