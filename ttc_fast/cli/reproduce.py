"""The command ``ttc-fast reproduce``."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..experiments.config import ReproduceConfig
from .console import WIDTH, aligned, with_error
from .streams import deliver

if TYPE_CHECKING:
    from ..experiments.reproduction import Reproduction


def main(config: ReproduceConfig) -> None:
    """Run what is not done yet, write, print.

    Args:
        config: the settings.

    Raises:
        ValueError, TypeError, OSError: with a message for the user.
    """
    from ..experiments import plot, study_figures
    from ..experiments.reproduction import document, quick, reproduce
    from ..experiments.study import load_study, selected
    from ..numerics import files
    from . import console

    own = [config.study] if config.study.endswith(".json") else []
    files.check_outputs({"json": config.json, "plot": config.plot}, {"study": own})
    if config.plot is not None:
        plot.check_possible(config.plot)
    if config.quick and config.prompts is not None:
        raise ValueError(f"prompts: expected none with --quick, got {config.prompts}; leave one of them out")
    study = selected(load_study(config.study), config.only)
    prompts = quick(study.prompts) if config.quick else config.prompts
    folder = Path(f"reproduce-{study.name}") if config.folder is None else config.folder
    found = reproduce(study, prompts=prompts, folder=folder, progress=not config.quiet)
    writers: list[Callable[[], None]] = []
    if config.json is not None:
        writers.append(partial(files.write, config.json, document(found), "json"))
    if config.plot is not None:
        writers.append(partial(study_figures.draw, found, config.plot))
    deliver(*writers, screen=None if config.quiet else lambda: console.show(text(found)))


def text(found: Reproduction) -> str:
    """What the command prints."""
    study = found.study
    head = [
        *_filled(f"{study.title}; {study.source}."),
        *_filled(
            f"published: over {study.prompts:,} prompts; ours over {found.prompts:,} others, with the standard "
            "error in the last digits; law: exact given our prompts; z: ours minus published in standard errors"
        ),
    ]
    blocks = ["\n".join(head)]
    for about, records in groupby(found.records(), _about):
        rows = [_cells(record) for record in records]
        blocks.append("\n".join([*_filled(about), aligned(["quantity", "published", "ours", "law", "z"], rows)]))
    checks = found.squared_error_checks()
    last = [
        *_filled(f"not known: {'; '.join(study.unknown)}."),
        *[
            f"{name}: {count} figures with a law, at most {z:.1f} standard errors off it"
            for name, (count, z) in checks.items()
        ],
        f"{found.wall_time:,.0f} s on this machine, without parts that were there already",
    ]
    return "\n\n".join([*blocks, "\n".join(last)])


def _about(record: Mapping[str, Any]) -> str:
    fields = ("quantity", "published", "ours", "standard_error", "law", "z")
    return ", ".join(f"{name} {value}" for name, value in record.items() if name not in fields)


def _cells(record: Mapping[str, Any]) -> list[str]:
    ours = with_error(record["ours"], record["standard_error"] or math.nan)
    law = "" if record["law"] is None else f"{record['law']:.5f}"
    distance = "" if record["z"] is None else f"{record['z']:+.1f}"
    return [record["quantity"], f"{record['published']:.5f}", ours, law, distance]


def _filled(paragraph: str) -> list[str]:
    return textwrap.wrap(paragraph, WIDTH)
