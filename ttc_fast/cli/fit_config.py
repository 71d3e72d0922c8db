"""The settings of the command ``ttc-fast fit``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from .analyze_config import ReadConfig


@dataclass(frozen=True)
class FitConfig(ReadConfig):
    """Fit laws to logs of repeated samples, and forecast pass@k, maj@k and best@k for more samples than there are,
    with 95 % intervals over prompts."""

    budgets: tuple[int, ...] | None = None
    """Samples k of the forecast (default 1, 2, 4, ... up to 8 times the samples that every prompt has)."""
    first: Annotated[int | None, arg(metavar="N")] = None
    """Fit the first N samples of every prompt only, and see how good the forecast of the others is."""
    ties: Literal["random", "fail"] = "random"
    """Who wins a tied vote: a fair draw, or nobody."""
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
    """Find the in-context regression whose exact laws are nearest to these curves."""
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
