"""The driver of a sweep: hands out what is missing, tries again what may pass, sets aside what does not."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..numerics.files import write
from .engines import Engine
from .shards import Block, Store, missing
from .sweep_plan import Planned, Prepared
from .work import Outcome, Task

TRIES = 3
"""Of a shard whose worker dies or whose error may pass."""

TICK = 0.5
"""Seconds between two looks at what others have done."""


@dataclass
class Snapshot:
    """How far a sweep is."""

    shards: int
    """Of this call's part of the sweep."""
    done: int
    runs: int
    runs_done: int
    running: int = 0
    rate: float = 0.0
    """Coefficient-steps per second of this call."""
    counted: bool = True
    """Whether the command counts these."""
    left: float | None = None
    """Seconds, foreseen."""
    failures: int = 0
    notes: list[str] = field(default_factory=list)
    """To be told; who shows them removes them."""


Watch = Callable[[Snapshot], None]


def verified(store: Store, key: str, notes: list[str]) -> list[Block]:
    """The blocks of a key that are there, whole; damaged files are removed.

    Args:
        store: where they are.
        key: of the settings.
        notes: is told of damaged ones.
    """
    whole = []
    for shard in store.listed(key):
        if store.content(shard) is not None:
            whole.append(shard.block)
        else:
            notes.append(f"{store.path(shard)} is damaged: it is computed again")
            store.drop(shard)
    return whole


def drive(
    prepared: Prepared, store: Store, engine_of: Callable[[int], Engine], part: tuple[int, int], watch: Watch
) -> None:
    """Compute what is missing of a part of a sweep.

    Args:
        prepared: the plan.
        store: where shards are and go.
        engine_of: makes the engine for so many tasks.
        part: (i, n).
        watch: is told how far it is.

    Raises:
        ValueError: a run is refused.
        OSError: the disk is full, or shards failed three times.
    """
    store.tidy()
    driver = _Driver(prepared, store, part, watch)
    if not driver.todo:
        watch(driver.now)
        return
    with contextlib.closing(engine_of(len(driver.todo))) as engine:
        driver.run(engine)


class _Driver:
    """The loop of a sweep."""

    def __init__(self, prepared: Prepared, store: Store, part: tuple[int, int], watch: Watch) -> None:
        self.store, self.watch, self.isa, self.configs = store, watch, prepared.isa, prepared.configs
        self.plan, self.command = prepared.plan, prepared.plan.command
        mine = prepared.plan.blocks()[part[0] - 1 :: part[1]]
        self.of: dict[Block, Planned] = {}
        self.left: Counter[str] = Counter()
        notes: list[str] = []
        there: dict[str, list[Block]] = {}
        done = 0
        for one, block in mine:
            if block.key not in there:
                there[block.key] = verified(store, block.key, notes)
            gaps = missing(block, there[block.key])
            done += not gaps
            for gap in gaps:
                self.of[gap] = one
                self.left[gap.key] += 1
        self.todo: deque[Block] = deque(self.of)
        self.rest = sum((block.stop - block.start) * one.seconds for block, one in self.of.items())
        self.later: deque[tuple[float, Block]] = deque()
        self.tries: Counter[Block] = Counter()
        self.failed: dict[Block, str] = {}
        self.steps, self.seconds, self.foreseen, self.began = 0, 0.0, 0.0, time.monotonic()
        keys = len({block.key for _, block in mine})
        counted = any(one.steps for one in prepared.plan.runs)
        self.now = Snapshot(done + len(self.of), done, keys, keys - len(self.left), counted=counted, notes=notes)
        self.failures = store.folder / "failed"

    def run(self, engine: Engine) -> None:
        """Until all is done or has failed."""
        running: set[Block] = set()
        while self.todo or self.later or running:
            while self.later and self.later[0][0] <= time.monotonic():
                self.todo.append(self.later.popleft()[1])
            while self.todo and len(running) < engine.workers:
                block = self.todo.popleft()
                folder = str(self.store.folder.absolute())
                engine.start(Task(folder, block, self.command, self.configs[block.key], self.isa))
                running.add(block)
            self._tell(engine, len(running))
            for task, outcome in engine.finished(TICK):
                running.discard(task.block)
                self._take(task.block, outcome)
            if self.later and not running and not self.todo:
                time.sleep(TICK)
        self._tell(engine, 0)
        if self.failed:
            listed = "; ".join(f"{self.plan.described(self.of[b], b)}: {text}" for b, text in self.failed.items())
            raise OSError(f"{len(self.failed)} of {self.now.shards} shards failed {TRIES} times: {listed}")

    def _take(self, block: Block, outcome: Outcome) -> None:
        label = self.plan.described(self.of[block], block)
        if outcome.state == "busy":
            self.later.append((time.monotonic() + TICK, block))
        elif outcome.state in ("made", "there"):
            if outcome.content:
                self.store.put(outcome.content, block)
            self._done(block, outcome)
        elif outcome.state == "full":
            raise OSError(f"out: {outcome.text}; make room and give the same command again, what is done is kept")
        elif outcome.state == "wrong":
            raise ValueError(f"{label}: {outcome.text}")
        else:
            self.tries[block] += 1
            self.now.notes.append(f"{label}: {outcome.text} (try {self.tries[block]} of {TRIES})")
            if self.tries[block] < TRIES:
                self.todo.append(block)
            else:
                self.failed[block] = outcome.text
                self.now.failures += 1
                self.failures.mkdir(exist_ok=True)
                write(
                    self.failures / f"{block.key}-{block.start}-{block.stop}.txt", f"{label}: {outcome.text}\n", "out"
                )

    def _done(self, block: Block, outcome: Outcome) -> None:
        one, prompts = self.of[block], block.stop - block.start
        (self.failures / f"{block.key}-{block.start}-{block.stop}.txt").unlink(missing_ok=True)
        self.left[block.key] -= 1
        self.rest -= prompts * one.seconds
        self.now.done += 1
        self.now.runs_done += not self.left[block.key]
        self.foreseen += prompts * one.seconds if outcome.state == "made" else 0.0
        self.steps += prompts * one.steps if outcome.state == "made" else 0
        self.seconds += outcome.seconds

    def _tell(self, engine: Engine, running: int) -> None:
        elapsed = time.monotonic() - self.began
        self.now.running, self.now.rate = running, self.steps / max(elapsed, 1e-9)
        if self.foreseen:  # how wrong the forecast was so far, it will be
            self.now.left = max(0.0, round(self.rest * self.seconds / self.foreseen / engine.workers, 2))
        self.watch(self.now)
