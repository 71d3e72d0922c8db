"""Errors that are quadratic in a thought, from its mean and covariance: of one decode and of the mean of k."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ..tasks.quadratic import QUADRATIC, Quadratic, QuadraticMetric, quadratic
from .gaussian import GaussianLaw, MeanAndSpread, error_of_mean, spread_of_error
from .laws import Expected, Problem, certain

QUADRATIC_METRICS = "squared error, prediction risk, in-context loss"
"""In words, for the list of laws."""


WITHOUT_NOISE = f"{QUADRATIC_METRICS}, error norm"
"""Of a chain that is its own mean."""


def form(problem: Problem, metric: QuadraticMetric) -> Quadratic:
    """A metric as a quadratic form of the answer, made once for these prompts.

    Args:
        problem: the prompts.
        metric: its name.
    """
    return problem.cached(metric, lambda: quadratic(problem.seen, metric))


def errors_of_mean(
    problem: Problem, law: MeanAndSpread | None, budgets: Sequence[float], metrics: Sequence[str]
) -> dict[str, Tensor]:
    """Expected metrics ``[B, K]`` of the mean of k thoughts, of those asked for that are quadratic.

    Args:
        problem: the prompts.
        law: of one thought; None: it is not known.
        budgets: the k.
        metrics: asked for.
    """
    if law is None:
        return {}
    return {name: error_of_mean(law, form(problem, name), budgets) for name in QUADRATIC if name in metrics}


def with_spread(
    problem: Problem, law: GaussianLaw | None, budgets: Sequence[float], metrics: Sequence[str]
) -> dict[str, Expected]:
    """As :func:`errors_of_mean` of a Gaussian law, with the variance.

    Args:
        problem, law, budgets, metrics: as there.
    """
    found = errors_of_mean(problem, law, budgets, metrics)
    return {
        name: Expected(found[name], *spread_of_error(law, form(problem, name), budgets))
        for name in QUADRATIC
        if law is not None and name in found
    }


def errors_without_noise(problem: Problem, law: MeanAndSpread | None, metrics: Sequence[str]) -> dict[str, Expected]:
    """Metrics ``[B, 1]`` of the mean of a thought.

    Args:
        problem: the prompts.
        law: of the thought; None: it is not known.
        metrics: asked for.
    """
    asked = [*metrics, "squared_error"] if "error_norm" in metrics else metrics
    found = errors_of_mean(problem, law, [math.inf], asked)
    if law is not None and "error_norm" in metrics:
        found["error_norm"] = (problem.model.dim * found["squared_error"]).sqrt()
    return {name: certain(value) for name, value in found.items() if name in metrics}
