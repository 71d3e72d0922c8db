"""How commands read logs, and the settings of ``ttc-fast fit``, which sweeps take too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

# numpy is imported in functions: it waits until the command line is understood.
if TYPE_CHECKING:
    from ..logs.fit import Fit
    from ..logs.log import SampleLog
    from ..logs.options import Reading
    from ..numerics.progress import Report


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
class FitConfig(ReadConfig):
    """Fit laws to logs of repeated samples, and forecast pass@k, maj@k and best@k for more samples than there are,
    with 95 % intervals over prompts."""

    budgets: tuple[int, ...] | None = None
    """Samples k of the forecast (default 1, 2, 4, ... up to 8 times the samples that every prompt has)."""
    first: Annotated[int | None, arg(metavar="N")] = None
    """Fit the first N samples of every prompt only, and see how good the forecast of the others is."""
    ties: Literal["random", "fail"] = "random"
    """Who wins a tied vote: a fair draw, or nobody; not score, as the scores of further samples are not known."""
    no_answer: Literal["fail", "ignore"] = "fail"
    """Samples without answer vote for failure, or do not vote."""
    greedy: Annotated[float | None, arg(metavar="ACCURACY")] = None
    """Accuracy of greedy decoding, which votes are to pass (default: that of a single sample)."""
    token_price: float = 0.0
    """Price of a sampled token."""
    verifier_price: float = 0.0
    """Price of a call of the verifier; pass@k and best@k take one for every sample."""
    right_worth: float = 1.0
    """What a right answer is worth, in the currency of the prices."""
    simulate: bool = False
    """Find the in-context regressions, with binary and with continuous coefficients, whose exact laws are nearest to
    these curves."""
    seed: int = 0
    """Of the random weights of the intervals, and of the votes that are drawn."""
    json: Path | None = None
    """Write all that is shown, the fitted laws, and the forecasts of every prompt to this file."""
    save: Path | None = None
    """Write the forecasts of every prompt as a table, by name (.parquet)."""
    plot: Path | None = None
    """Draw the forecasts and the law of success (png, pdf or svg)."""
    quiet: bool = False
    """Print nothing but errors."""


def reading(config: ReadConfig) -> Reading:
    """The options of a command that reads logs, as the reader takes them.

    Args:
        config: the settings.

    Raises:
        ValueError: they make no sense.
    """
    from ..logs.options import Reading, fields_of

    gold = None if config.gold is None else str(config.gold)
    return Reading(
        config.filter, config.skip_bad, config.equal, config.extract, gold, fields_of(config.field), config.aggregate,
        config.cluster,
    )  # fmt: skip


def read_log(config: ReadConfig, report: Report) -> SampleLog:
    """The samples that the settings name.

    Args:
        config: the settings.
        report: is told of the progress.

    Raises:
        ValueError, OSError: a file cannot be read, or is not as it must be.
    """
    from ..logs.reader import read_groups

    return read_groups(config.files, config.format, options=reading(config), progress=report)[""]


def fitted(config: FitConfig, log: SampleLog, report: Report, resamples: int = 200) -> Fit:
    """The fit that the settings ask for.

    Args:
        config: the settings.
        log: of :func:`read_log`.
        report: is told of the progress.
        resamples: of the intervals.

    Raises:
        ValueError: a setting is not as it must be.
    """
    from ..logs.fit import fit

    return fit(
        log, config.budgets, first=config.first, ties=config.ties, no_answer=config.no_answer, resamples=resamples,
        seed=config.seed, progress=report,
    )  # fmt: skip
