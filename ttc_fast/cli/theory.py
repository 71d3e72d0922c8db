"""The command ``ttc-fast theory``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TheoryConfig:
    """List which technique has an exact law under which decoding rule: what ``ttc-fast run`` compares with."""


def main(config: TheoryConfig) -> None:
    """Print the registry of laws, and the techniques without any."""
    from ..techniques.registry import TECHNIQUES
    from ..theory import overlay as _entered  # noqa: F401  # importing it enters our laws in the registry
    from ..theory.laws import LAWS
    from . import console

    cells: dict[tuple[str, str], str] = {}
    for (technique, rule), entry in LAWS.items():
        row = f"{technique}, {rule.__name__}"
        limits = [f"d <= {entry.max_dim}"] if entry.max_dim else []
        limits += [f"prompts <= {entry.max_prompts}"] if entry.max_prompts else []
        cells |= {(row, "law"): entry.about, (row, "metrics"): entry.metrics, (row, "where"): ", ".join(limits)}
    screen = console.console()
    screen.print(console.table("technique, rule", cells))
    without = [name for name in TECHNIQUES if name not in {technique for technique, _ in LAWS}]
    screen.print(f"no law: {', '.join(without)}")
