"""The settings of the command ``ttc-fast analyze``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from ..experiments.log_config import ReadConfig


@dataclass(frozen=True)
class AnalyzeConfig(ReadConfig):
    """Read logs of repeated samples and show pass@k, maj@k and best@k, estimated from all subsets of k of a
    prompt's samples, with 95 % intervals over prompts."""

    budgets: tuple[int, ...] | None = None
    """Samples k that a technique may spend (default 1, 2, 4, ... up to the samples that every prompt has)."""
    ties: Literal["random", "fail", "first", "score"] = "random"
    """Who wins a tied vote: a fair draw, nobody, the answer sampled first, or that with the largest sum of scores."""
    no_answer: Literal["fail", "ignore"] = "fail"
    """Samples without answer vote for failure, or do not vote."""
    group_by: Annotated[str | None, arg(metavar="FIELD")] = None
    """Analyse the samples of every value of a field by themselves, such as model."""
    against: tuple[Path, ...] | None = None
    """Logs of another model or setting over the same prompts: show the paired differences."""
    worst: int = 0
    """List so many prompts at which pass@1 and maj@k differ most."""
    json: Path | None = None
    """Write all that is shown, and the figures of every prompt, to this file."""
    save: Path | None = None
    """Write the figures of every prompt as a table, by name (.parquet)."""
    quiet: bool = False
    """Print nothing but errors."""
