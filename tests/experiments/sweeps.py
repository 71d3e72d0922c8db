"""A small sweep, and an engine that computes in this process, where the faults of workers can be played."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ttc_fast.experiments import sweep_plan
from ttc_fast.experiments.driver import Snapshot, drive
from ttc_fast.experiments.grid import points
from ttc_fast.experiments.shards import Store
from ttc_fast.experiments.sweep import complete, write_merged
from ttc_fast.experiments.sweep_plan import prepare
from ttc_fast.experiments.sweepable import Cost
from ttc_fast.experiments.work import Outcome, Task, attempt
from ttc_fast.numerics.progress import ignore

STUDY: dict[str, Any] = {
    "run": {
        "coefficients": "continuous", "samples": 4, "prompts": 5, "steps": [1, 2], "examples": 8,
        "technique": ["greedy", "mean"],
    },
    "grid": {"dim": [2, 3], "seed": [0, 1]},
}  # fmt: skip
"""Four runs of five prompts."""


class Inline:
    """An engine in this process.

    Args:
        workers: tasks that it takes at a time.
        play: computes a task, or plays a fault.
        last_first: ends them in the other order.
    """

    def __init__(
        self, workers: int = 2, play: Callable[[Task], Outcome] = attempt, *, last_first: bool = False
    ) -> None:
        self._workers, self._play, self._last_first = workers, play, last_first
        self._started: deque[Task] = deque()
        self.done: list[Task] = []

    @property
    def workers(self) -> int:
        return self._workers

    def start(self, task: Task) -> None:
        self._started.append(task)

    def finished(self, seconds: float) -> list[tuple[Task, Outcome]]:
        if not self._started:
            return []
        task = self._started.pop() if self._last_first else self._started.popleft()
        self.done.append(task)
        return [(task, self._play(task))]

    def close(self) -> None:
        self._started.clear()


def blocks_of(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """From now on shards have so many prompts, and nothing is measured."""
    monkeypatch.setattr(sweep_plan, "costs", lambda command, works, report: [Cost(1.0, 100.0, 10) for _ in works])
    monkeypatch.setattr(sweep_plan, "block_size", lambda cost: size)


def swept(
    folder: Path, engine: Inline | None = None, study: Mapping[str, Any] = STUDY, part: tuple[int, int] = (1, 1)
) -> tuple[list[Task], list[str]]:
    """Sweep, and merge if all is there: the tasks that were given out, and what was told."""
    store, used, notes = Store(folder), engine or Inline(), []
    prepared = prepare(points(study), folder, ignore)

    def watch(now: Snapshot) -> None:
        notes.extend(now.notes)
        now.notes.clear()

    drive(prepared, store, lambda most: used, part, watch)
    if complete(prepared.plan, store):
        write_merged(folder)
    return used.done, notes


def digest(folder: Path) -> str:
    """Of the merged table."""
    return hashlib.sha256((folder / "table.parquet").read_bytes()).hexdigest()
