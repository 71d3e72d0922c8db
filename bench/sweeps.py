"""What sweeps cost: ``python -m bench.sweeps``.

Exponents of the time of a run in prompts, samples and thoughts, which should be 1; what a shard takes beside its
computation; and, with no work done, a million shards: planning them, handing them out to 10,000 workers, listing,
verifying and merging. Times are of this process (user and system), so that others on the machine count less.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import timeit
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import ttc_fast as tf
from ttc_fast.experiments.driver import drive, verified
from ttc_fast.experiments.shards import Block, Store, joined
from ttc_fast.experiments.sweep_plan import Planned, Prepared, SweepPlan
from ttc_fast.experiments.sweep_run import compute
from ttc_fast.experiments.work import Outcome, Task, attempt

CONFIG = tf.RunConfig(coefficients="continuous", theory=False, technique=("mean", "best_of_n"), verifier="oracle",
                      budgets=(1, 64), samples=4096, prompts=32, steps=(32,))  # fmt: skip


def seconds(work: Callable[[], Any], times: int = 3) -> float:
    """The least of some goes, of the processor's time."""
    return min(timeit.repeat(work, timer=time.process_time, repeat=times, number=1))


def exponents() -> dict[str, float]:
    """The slope of log time in log size, for sizes over a factor of 16."""
    sizes: dict[str, tuple[Sequence[int], Callable[[int], tf.RunConfig]]] = {
        "prompts": ((128, 512, 2048), lambda n: replace(CONFIG, prompts=n)),
        "samples": ((16384, 65536, 262144), lambda n: replace(CONFIG, samples=n)),
        "thoughts": ((256, 1024, 4096), lambda n: replace(CONFIG, steps=(n,))),
    }
    found = {}
    compute(CONFIG, 0, 4)  # what is loaded on first use
    for name, (values, config_of) in sizes.items():
        configs = [config_of(value) for value in values]
        taken = [seconds(partial(compute, config, 0, config.prompts or 0)) for config in configs]
        found[name] = float(np.polyfit(np.log(values), np.log(taken), 1)[0])
    return found


class Made:
    """A command whose figures are there already."""

    def __init__(self, table: tf.Table) -> None:
        self.table = table

    def compute(self, config: Any, start: int, stop: int, place: Path) -> tf.Table:
        return replace(self.table, prompts=np.arange(start, stop))


class Nobody:
    """An engine that ends every task at once."""

    workers = 10_000

    def __init__(self) -> None:
        self.tasks: deque[Task] = deque()

    def start(self, task: Task) -> None:
        self.tasks.append(task)

    def finished(self, seconds: float) -> list[tuple[Task, Outcome]]:
        found = [(task, Outcome("made", 20.0)) for task in self.tasks]
        self.tasks.clear()
        return found

    def close(self) -> None:
        self.tasks.clear()


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--shards", type=int, default=1000, help="of each run, planned")
    parser.add_argument("--files", type=int, default=5000, help="that are written, listed, verified and merged")
    parser.add_argument("--no-exponents", action="store_true")
    options = parser.parse_args()
    for name, exponent in ({} if options.no_exponents else exponents()).items():
        print(f"time in {name}: exponent {exponent:.3f}")
    with tempfile.TemporaryDirectory() as folder:
        planned(Path(folder) / "plan", options.runs, options.shards)
        files(Path(folder) / "files", options.files)


def planned(folder: Path, runs: int, shards: int) -> None:
    """Plan and hand out."""
    every = tuple(Planned({"seed": i}, f"{i:016x}", 0, 64 * shards, 64, 0.3, 1000.0, 1000, {}) for i in range(runs))
    plan = SweepPlan({}, {}, every)
    print(f"{runs * shards:,} shards: planned in {seconds(plan.blocks, 1):.1f} s of this process")
    prepared = Prepared(plan, {one.key: None for one in every}, None)
    taken = seconds(lambda: drive(prepared, Store(folder), lambda most: Nobody(), (1, 1), lambda now: None), 1)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"planned and handed out to {Nobody.workers:,} workers in {taken:.1f} s; {memory:.1f} GB at most")


def files(folder: Path, count: int) -> None:
    """Write, list, verify, merge: of each shard."""
    table = compute(replace(CONFIG, prompts=2, samples=64), 0, 2)
    store, command = Store(folder), Made(table)
    blocks = [Block("k", 2 * i, 2 * i + 2) for i in range(count)]
    tasks = [Task(str(folder), block, command, None, None) for block in blocks]  # type: ignore[arg-type]  # none is read
    work = {
        "written, beside its computation": lambda: [attempt(task) for task in tasks],
        "listed": lambda: store.listed("k"),
        "listed and verified": lambda: verified(store, "k", []),
        "verified, read and joined": lambda: joined(store, Block("k", 0, 2 * count)),
    }
    for name, do in work.items():
        began, taken = time.perf_counter(), seconds(do, 1)
        waited = time.perf_counter() - began
        print(f"a shard is {name} in {1000 * taken / count:.2f} ms of this process, {1000 * waited / count:.2f} in all")


if __name__ == "__main__":
    main()
