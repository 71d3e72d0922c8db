"""What the settings of a sweep will cost: a measured second of each kind, and straight lines from there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ..numerics.progress import Report
from .sweepable import Cost, Sweepable, Work

TARGET = 20.0
"""Seconds that a shard should take, more or less by half."""

MOST_FIGURES = 2**20
"""Of a shard, all keys and prompts: what a worker holds in memory."""

MOST_KINDS = 24
"""That are measured; others take the cost of the most similar one."""


def costs(command: Sweepable, works: Sequence[Work], report: Report) -> list[Cost]:
    """The costs of some settings, from measurements of the smallest and the largest of each kind.

    Args:
        command: whose they are.
        works: of its settings.
        report: is told of the progress.
    """
    groups: defaultdict[tuple[object, ...], list[Work]] = defaultdict(list)
    for work in works:
        groups[work.kind].append(work)
    kinds = list(groups)
    measured: dict[tuple[object, ...], tuple[list[int], list[Cost]]] = {}
    chosen = [kinds[i] for i in sorted({round(i) for i in np.linspace(0, len(kinds) - 1, min(len(kinds), MOST_KINDS))})]
    for i, kind in enumerate(chosen):
        ends = sorted({work.size: work for work in groups[kind]}.items(), key=lambda pair: pair[0])
        ends = [ends[0], ends[-1]] if len(ends) > 1 else ends
        measured[kind] = ([size for size, _ in ends], [command.measured(work) for _, work in ends])
        report("measuring", (i + 1) / len(chosen))
    return [_interpolated(work, *measured[_nearest(work.kind, measured)]) for work in works]


def _nearest(kind: tuple[object, ...], measured: Mapping[tuple[object, ...], object]) -> tuple[object, ...]:
    if kind in measured:
        return kind
    return min(measured, key=lambda other: sum(a != b for a, b in zip(kind, other)))


def _interpolated(work: Work, sizes: list[int], found: list[Cost]) -> Cost:
    seconds, size, figures = (float(np.interp(work.size, sizes, [cost[i] for cost in found])) for i in range(3))
    return Cost(seconds, size, round(figures))


def block_size(cost: Cost) -> int:
    """Units of a shard: a power of two, so that it takes :data:`TARGET` seconds, more or less by half.

    Args:
        cost: of a unit.

    >>> block_size(Cost(seconds=0.01, bytes=100.0, figures=10))
    2048
    """
    fitting = min(TARGET * 1.4 / max(cost.seconds, 1e-9), MOST_FIGURES / max(cost.figures, 1))
    return 1 << max(0, int(np.log2(max(fitting, 1.0))))
