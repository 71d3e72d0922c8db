"""A run as JSON."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from typing import Any

import numpy
import torch

from .. import __version__
from ..numerics import rng
from .config import OUTPUT
from .files import finite
from .results import RunResult


def run_records(result: RunResult) -> list[dict[str, Any]]:
    """The records of a run's table, with the multiplications that each figure cost."""
    records = []
    for key, record in zip(result.table.keys, result.table.records()):
        theory = {name: record.pop(name) for name in ("theory", "z")}
        records.append(finite({**record, "multiplications": sum(result.multiplications(key)), **theory}))
    return records


def _verdict(result: RunResult) -> dict[str, Any] | None:
    """Of all figures whose law gives a variance: how many, and the probability in theory of so large a difference."""
    if result.table.theory is None:
        return None
    verdict = result.table.theory_check()
    return finite({"figures": verdict.figures, "p": verdict.p})


def run_json(result: RunResult) -> str:
    """The result as JSON; numbers that are not finite become null."""
    config = {name: value for name, value in asdict(result.config).items() if name not in OUTPUT}
    config |= {name: None if config[name] is None else str(config[name]) for name in ("prompts_file", "model")}
    document = {
        "config": config,
        "versions": {
            "ttc_fast": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
        "rng_layout": rng.LAYOUT,
        "model": result.model,
        "backend": result.backend,
        "instruction_set": result.instruction_set,
        "wall_time": result.wall_time,
        "throughput": dict(result.throughput),
        "compile_seconds": dict(result.compile_seconds),
        "unstable_prompts": dict(result.unstable),
        "theory_check": _verdict(result),
        "records": run_records(result),
    }
    # Settings may be numbers of NumPy.
    return json.dumps(document, indent=1, allow_nan=False, default=lambda number: number.item()) + "\n"
