"""The plan of a sweep: its settings, the blocks of prompts that become shards, and what they will cost.

The first driver of a study writes the plan to FOLDER/plans, and all others take it from there, so that they agree on
the blocks whatever each of them would have measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..numerics import check, extension
from ..numerics.files import open_input, write
from ..numerics.progress import Report
from .commands import command_of, work_of
from .costs import block_size, costs
from .grid import Point
from .shards import Block, digest, missing
from .sweepable import Cost, Sweepable, Work
from .work import identity, key_of, used_isa

FORMAT = "ttc_fast.Sweep/1"


class Planned(NamedTuple):
    """One run of a study."""

    varied: dict[str, Any]
    key: str
    first: int
    prompts: int
    """Units of the work."""
    block: int
    """Units of a shard."""
    seconds: float
    """Of each unit, on one worker."""
    bytes: float
    """Of each unit, in a shard."""
    steps: int
    """Coefficient-steps of each unit."""
    settings: dict[str, Any]
    """Those that are not the same in all runs, with every default filled in."""

    @property
    def range(self) -> Block:
        return Block(self.key, self.first, self.first + self.prompts)

    @property
    def label(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.varied.items()) or "the only setting"


@dataclass(frozen=True)
class SweepPlan:
    """All runs of a study."""

    facts: Mapping[str, Any]
    """Version, layout of the random numbers, instruction set."""
    common: Mapping[str, Any]
    """Settings that are the same in all runs."""
    runs: tuple[Planned, ...]

    def blocks(self) -> list[tuple[Planned, Block]]:
        """What becomes a shard each, with the run that needs it first."""
        found: list[tuple[Planned, Block]] = []
        planned: dict[str, list[Block]] = {}
        for one in self.runs:
            known = planned.setdefault(one.key, [])
            fresh = [block for part in missing(one.range, known) for block in _cut(part, one.block)]
            known += fresh
            found += [(one, block) for block in fresh]
        return found

    @property
    def command(self) -> Sweepable:
        """What is done at each of its settings."""
        return command_of(self.facts.get("command", ""))

    def described(self, one: Planned, block: Block) -> str:
        """Some units of a run in words, such as prompts 0 to 64 of the run with dim 8.

        Args:
            one: the run.
            block: of its units.
        """
        units = "" if one.prompts == 1 else f"{self.command.unit} {block.start} to {block.stop} of "
        return f"{units}the run with {one.label}"

    @property
    def seconds(self) -> float:
        """Of all runs, on one worker."""
        return sum((block.stop - block.start) * one.seconds for one, block in self.blocks())

    @property
    def bytes(self) -> float:
        """Of all shards and the merged table."""
        blocks = self.blocks()
        merged = sum(one.prompts * one.bytes for one in self.runs)
        return merged + sum((block.stop - block.start) * one.bytes + 12_000 for one, block in blocks)


def _cut(block: Block, size: int) -> list[Block]:
    """Blocks that end at multiples of ``size``."""
    found, at = [], block.start
    while at < block.stop:
        end = min(block.stop, (at // size + 1) * size)
        found.append(Block(block.key, at, end))
        at = end
    return found


class Prepared(NamedTuple):
    """A plan with what workers are told."""

    plan: SweepPlan
    configs: dict[str, Any]
    """By key."""
    isa: str | None


def prepare(points: Sequence[Point], folder: Path, report: Report, *, dry: bool = False) -> Prepared:
    """The plan of a study: that of the folder if it has one, else a new one, for which costs are measured.

    Args:
        points: of the study.
        folder: of the sweep.
        report: is told of the progress.
        dry: write nothing.

    Raises:
        ValueError, TypeError, OSError: settings are refused; the message says which.
    """
    works = []
    for i, point in enumerate(points):
        try:
            works.append(work_of(point.command, point.config))
        except (ValueError, TypeError) as error:
            raise type(error)(f"{error} (in the run with {point.label})") from error
        report("resolving", (i + 1) / len(points))
    study = digest(json.dumps([(key_of(one, None), one.first, one.stop - one.first) for one in works]).encode())
    path = folder / "plans" / f"{study}.json"
    plan = read_plan(path) if path.exists() else _made(points, works, folder, report)
    if not dry and not path.exists():
        plan = _agreed(path, plan)
    isa = _pinned(plan)
    if not dry:
        write(folder / "study.json", json.dumps({"format": FORMAT, "plan": study}) + "\n", "out")
    return Prepared(plan, {one.key: work.config for one, work in zip(plan.runs, works)}, isa)


def _pinned(plan: SweepPlan) -> str | None:
    isa: str | None = plan.facts["instruction_set"]
    if isa is not None and isa not in extension.isas():
        raise ValueError(
            f"out: expected a machine with the instruction set {isa}, with which the sweep began, got {used_isa()}; "
            f"begin it anew with the environment variable {extension.ISA_VARIABLE} that all machines can run"
        )
    return isa


def _made(points: Sequence[Point], works: Sequence[Work], folder: Path, report: Report) -> SweepPlan:
    isa = used_isa()
    keys = [key_of(one, isa) for one in works]
    known = {one.key: one for plan in _plans(folder) for one in plan.runs}
    unknown = [one for key, one in zip(keys, works) if key not in known]
    command = command_of(points[0].command)
    found = dict(zip((key for key in keys if key not in known), costs(command, unknown, report)))
    every = [one.settings for one in works]
    common = {name: value for name, value in every[0].items() if all(other[name] == value for other in every)}
    runs = []
    for point, key, one, settings in zip(points, keys, works, every):
        old = known.get(key)
        cost = found[key] if old is None else Cost(old.seconds, old.bytes, 1)
        size = block_size(cost) if old is None else old.block
        differing = {name: value for name, value in settings.items() if name not in common}
        runs.append(
            Planned(
                dict(point.varied),
                key,
                one.first,
                one.stop - one.first,
                size,
                cost.seconds,
                cost.bytes,
                one.steps,
                differing,
            )
        )
    facts = {name: value for name, value in identity(works[0], isa).items() if name != "settings"}
    return SweepPlan(facts, common, tuple(runs))


def _plans(folder: Path) -> list[SweepPlan]:
    return [read_plan(path) for path in sorted((folder / "plans").glob("*.json"))]


def _agreed(path: Path, plan: SweepPlan) -> SweepPlan:
    """The plan once it is in the folder; if another driver was first, its plan."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{os.urandom(8).hex()}")
    head = {"format": FORMAT, "facts": plan.facts, "common": plan.common}
    text = json.dumps({**head, "runs": [one._asdict() for one in plan.runs]}, indent=None)
    write(draft, text + "\n", "out")
    try:
        os.link(draft, path)
    except FileExistsError:
        return read_plan(path)
    except OSError:  # a file system without links
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return read_plan(path)


def read_plan(path: Path) -> SweepPlan:
    """A plan from its file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none.
    """
    try:
        with open_input(path) as file:
            document = json.loads(file.read())
        if document["format"] != FORMAT:
            raise ValueError(f"{path}: expected the format {FORMAT}, got {document['format']}")
        return SweepPlan(document["facts"], document["common"], tuple(Planned(**one) for one in document["runs"]))
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected the plan of a sweep: {error}; remove it and sweep again") from error


def current_plan(folder: Path) -> SweepPlan:
    """The plan of the sweep that was last begun in a folder.

    Raises:
        OSError, ValueError: there is none.
    """
    check.path("folder", folder)
    try:
        with open_input(folder / "study.json") as file:
            name = json.loads(file.read())["plan"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"folder: expected one that ttc-fast sweep made, got {folder}: {error}") from error
    return read_plan(folder / "plans" / f"{name}.json")
