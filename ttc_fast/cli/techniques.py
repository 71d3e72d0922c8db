"""The command ``ttc-fast techniques``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TechniquesConfig:
    """List the inference techniques that ``ttc-fast run --technique`` knows, with their sources."""


def main(config: TechniquesConfig) -> None:
    """Print every technique with its line and its source."""
    from ..techniques.registry import TECHNIQUES
    from . import console

    cells: dict[tuple[str, str], str] = {}
    for name, technique in TECHNIQUES.items():
        kinds = "binary" if technique.binary_only else "both"
        cells |= {(name, "about"): technique.about, (name, "coefficients"): kinds, (name, "source"): technique.source}
    screen = console.console()
    screen.print(console.table("technique", cells))
    screen.print(
        "from Python only, as they need a threshold: ttc_fast.rejection_search (von Neumann, 1951) and "
        "first_accepted of ttc_fast.techniques.aggregate"
    )
