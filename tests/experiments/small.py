"""A small run, and its results as its JSON file has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from test_tasks import save_prompts
from ttc_fast import LinearRegression, RunConfig, run
from ttc_fast.experiments.records import run_json

SMALL: dict[str, Any] = {"dim": 3, "examples": 9, "prompts": 5, "samples": 12, "steps": (1, 4)}


def document(**settings: Any) -> dict[str, Any]:
    """What a small run writes."""
    found: dict[str, Any] = json.loads(run_json(run(RunConfig(**{**SMALL, **settings}))))
    return found


def prompts_file(folder: Path, kind: Any, known: bool = True) -> str:
    """A file of five prompts of the small run's size."""
    save_prompts(folder / "prompts.npz", LinearRegression(3, 9, kind).sample(5), known)
    return str(folder / "prompts.npz")
