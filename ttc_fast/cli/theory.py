"""The command ``ttc-fast theory``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FUNCTIONS: Final = (
    "gaussian.gaussian_law",
    "gaussian.tilt",
    "gaussian.filter_law",
    "gaussian.modes_that_improve",
    "quadratic.success_probability",
    "multiplicative.moments",
    "multiplicative.mean_square_radius",
    "ridge.equivalent_ridge",
    "ridge.best_ridge",
    "ridge.ridge_descent",
    "plackett_luce.laws_of_draw",
    "plackett_luce.set_probability",
    "subsets.subset_law",
    "binary.binary_law",
    "binary.BinaryChain",
    "binary_techniques.majority_exponents",
    "binary_techniques.plurality_exponents",
    "binary_techniques.votes_needed",
    "bayes.posterior",
    "bayes.bayes_benchmark",
    "moments.trace_moments",
    "ensemble.exact_curve",
    "ensemble.limit_contraction",
    "ensemble.limit_noise_sum",
    "ensemble.best_steps",
    "ensemble.never_overthinks_from",
    "ensemble.error_over_prompts",
    "allocation.bias_and_variance",
    "allocation.best_split",
    "allocation.iso_error",
)
"""Exact results that no run is compared with; of ``ttc_fast.theory``."""


@dataclass(frozen=True)
class TheoryConfig:
    """List which technique has an exact law under which decoding rule: what ``ttc-fast run`` compares with."""


def main(config: TheoryConfig) -> None:
    """Print the registry of laws, the techniques without any, and the other exact results."""
    from ..techniques.registry import TECHNIQUES
    from ..theory import overlay as _registered  # noqa: F401  # importing it registers our laws
    from ..theory.laws import LAWS
    from . import console

    cells: dict[tuple[str, str], str] = {}
    for (technique, rule), entry in LAWS.items():
        row = f"{technique}, {rule.__name__}"
        limits = [f"d <= {entry.max_dim}"] if entry.max_dim else []
        limits += [f"prompts <= {entry.max_prompts}"] if entry.max_prompts else []
        cells |= {(row, "law"): entry.about, (row, "metrics"): entry.metrics, (row, "where"): ", ".join(limits)}
    screen = console.console()
    screen.print("laws that ttc-fast run compares with, by technique and rule; yours is entered by ttc_fast.law")
    screen.print(console.table("technique, rule", cells))
    without = [name for name in TECHNIQUES if name not in {technique for technique, _ in LAWS}]
    screen.print(f"no law: {', '.join(without)}\n")
    screen.print("other exact results, functions of ttc_fast.theory")
    screen.print(console.table("function", {(name, "what it gives"): _first_line(name) for name in FUNCTIONS}))


def _first_line(name: str) -> str:
    """What the docstring of a function of ``ttc_fast.theory`` says first."""
    import importlib

    module, _, function = name.partition(".")
    text: str = getattr(importlib.import_module(f"ttc_fast.theory.{module}"), function).__doc__
    return " ".join(text.partition("\n\n")[0].split()).rstrip(".").replace("`", "")
