"""Sweeps that survive anything: what is planned and not yet there is computed, then all is put together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ..numerics import check
from ..numerics.progress import Report, reporting
from . import sweep_table
from .driver import Snapshot, drive
from .engines import Engine, LocalEngine, cpus
from .grid import load_points, points, study_file
from .shards import Block, Store, joined, missing
from .sweep_plan import Planned, SweepPlan, current_plan, prepare
from .sweep_table import SweepTable, Told


def sweep(
    study: str | os.PathLike[str] | Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    shard: tuple[int, int] | None = None,
    address: str | None = None,
    progress: bool | Report = False,
) -> SweepTable | None:
    """Do the runs of a study, in shards that are kept, and merge them. What is there already is not done again.

    Workers are new processes: a script that calls this needs ``if __name__ == "__main__":``.

    Args:
        study: a ``.toml`` file, see ``experiments/grid.py``, or what one holds, or the name of one of the gallery.
        out: folder of the shards and of ``table.parquet``.
        engine: processes of this machine, or a Ray cluster.
        workers: at a time; default one for each processor of the machine or cluster.
        shard: (i, n): only the i-th of n parts, counted from 1, as in ``--shard 2/10``.
        address: of the Ray cluster; default: the one that is running, else one of this machine.
        progress: True, or a function of a stage and the share of it that is done.

    Returns:
        The merged table; None if other parts of the sweep are not done yet.

    Raises:
        ValueError, TypeError: the study is refused, or a run is; the message says which.
        OSError: the folder cannot be written, or shards failed three times; what is done is kept.

    >>> study = {"run": {"samples": 4, "prompts": 2, "steps": 2}, "grid": {"dim": [2, 3], "seed": [0, 1]}}
    >>> sweep(study, "results", workers=1)  # doctest: +SKIP
    SweepTable(4 runs; dim: 2, 3; seed: 0, 1)
    """
    part = checked_part(shard)
    _check_engine(engine, workers, address)
    found = (
        points(study)
        if isinstance(study, Mapping)
        else load_points(study_file(Path(os.fsdecode(check.path("study", study)))))
    )
    folder = Path(os.fsdecode(check.path("out", out)))
    with reporting(progress) as report:
        store = Store(folder)
        prepared = prepare(found, folder, report)

        def watch(now: Snapshot) -> None:
            report("sweep", now.done / max(now.shards, 1))

        drive(prepared, store, lambda most: make_engine(engine, workers, address, most), part, watch)
    return merge(folder) if complete(prepared.plan, store) else None


def checked_part(shard: Any) -> tuple[int, int]:
    """(i, n) with 1 <= i <= n; None is (1, 1).

    Raises:
        TypeError, ValueError: it is none.
    """
    if shard is None:
        return 1, 1
    given = check.listed("shard", shard, "two integers (i, n)")
    if len(given) != 2:
        raise ValueError(f"shard: expected two integers (i, n), got {check.shown(shard)}")
    count = check.integer("shard: n", given[1], 1, 2**31)
    return check.integer("shard: i", given[0], 1, count), count


def make_engine(name: str, workers: int | None, address: str | None, most: int) -> Engine:
    """The engine of a name.

    Args:
        name: local or ray.
        workers: at a time; None: all processors.
        address: of the Ray cluster.
        most: tasks that there are.

    Raises:
        ValueError: it is unknown, or ray is not installed.
    """
    _check_engine(name, workers, address)
    if name == "ray":
        from .ray_engine import RayEngine

        return RayEngine(workers, address)
    return LocalEngine(max(1, min(workers or cpus(), most)))


def _check_engine(name: str, workers: int | None, address: str | None) -> None:
    check.choice("engine", name, ("local", "ray"))
    if workers is not None:
        check.integer("workers", workers, 1, 2**16)
    if address is not None:
        check.text("address", address)
        if name == "local":
            raise ValueError(f"address: expected none with the engine local, got {address}; add --engine ray")


def complete(plan: SweepPlan, store: Store) -> bool:
    """Whether all shards are there, by their names.

    Args:
        plan: of the sweep.
        store: its shards.
    """
    return not any(True for _ in lacking(plan, store))


def lacking(plan: SweepPlan, store: Store) -> Iterator[tuple[Planned, Block]]:
    """The prompts that are not there, by the names of the shards.

    Args:
        plan: of the sweep.
        store: its shards.
    """
    there: dict[str, list[Block]] = {}
    for one in plan.runs:
        if one.key not in there:
            there[one.key] = [shard.block for shard in store.listed(one.key)]
        for block in missing(one.range, there[one.key]):
            yield one, block


def merge(folder: str | os.PathLike[str]) -> SweepTable:
    """Check that a sweep is complete, and write its shards as one table, ``FOLDER/table.parquet``.

    Args:
        folder: of the sweep.

    Returns:
        The table.

    Raises:
        ValueError: shards are missing or damaged; the message says which.
        OSError: it cannot be written.
    """
    place = Path(os.fsdecode(check.path("folder", folder)))
    write_merged(place)
    return sweep_table.load(place)


def _told(plan: SweepPlan) -> Told:
    command = plan.command
    return Told(command.unit, command.metrics, dict(command.units), command.independent)


def write_merged(place: Path) -> SweepPlan:
    """:func:`merge` without reading what it wrote: one run's figures are in memory at a time."""
    plan = current_plan(place)
    store = Store(place)
    absent = list(lacking(plan, store))
    if absent:
        one, block = absent[0]
        raise ValueError(
            f"folder: expected all {plan.command.unit} of all {len(plan.runs)} runs, got {len(absent)} gaps, the first "
            f"at {plan.described(one, block)}; sweep again"
        )
    runs = [{"varied": one.varied, "key": one.key, "settings": one.settings} for one in plan.runs]
    sweep_table.write(
        place / "table.parquet", plan.facts, plan.common, runs, lambda i: joined(store, plan.runs[i].range), _told(plan)
    )
    return plan
