"""The settings of the command ``ttc-fast analyze``, and how every command reads logs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class ReadConfig:
    """How logs are read, by every command that takes some."""

    files: Positional[tuple[Path, ...]]
    """Logs of one format, packed or not, or - for standard input; a prompt that occurs in several of them gets the
    samples of all."""
    format: (
        Literal[
            "plain", "counts", "openai", "search-and-learn", "lm-eval", "human-eval", "evalplus", "bigcode", "inspect",
            "lighteval", "nemo-skills", "verl", "monkeys", "livecodebench", "matrix",
        ]
        | None
    ) = None  # fmt: skip
    """Layout of the files (default: told from the content)."""
    equal: Literal["exact", "normalised", "math"] = "normalised"
    """Which answers are the same: equal texts, texts of equal meaning (42 and 42.0), or formulas by math-verify."""
    extract: Annotated[str | None, arg(metavar="HOW")] = None
    """Take answers from whole completions: last-number, boxed, or a regular expression."""
    gold: Path | None = None
    """True answers by prompt (JSON or CSV), which then label the samples."""
    field: Annotated[tuple[str, ...], arg(metavar="NAME=COLUMN")] = ()
    """What a file calls our fields, such as answer=output prompt=meta.id."""
    aggregate: Literal["last", "min", "prod", "mean"] | None = None
    """What makes one score of those of a solution's steps (default: last)."""
    filter: Annotated[str | None, arg(metavar="NAME")] = None
    """Of a log with several filters or scorers: the one whose rows count."""
    cluster: Annotated[str | None, arg(metavar="FIELD")] = None
    """Field of prompts that depend on each other, such as questions of one passage: intervals over its values."""
    skip_bad: bool = False
    """Leave out lines that cannot be understood, and count them."""


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
