"""A small run on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ttc_fast.cli.main import main

SMALL = ["run", "--dim", "3", "--examples", "9", "--prompts", "5", "--samples", "12", "--steps", "1", "4"]


def run_json(folder: Path, *arguments: str) -> dict[str, Any]:
    """What a quiet small run writes."""
    path = folder / "out.json"
    assert main([*SMALL, *arguments, "--quiet", "--json", str(path)]) == 0
    document: dict[str, Any] = json.loads(path.read_text())
    return document
