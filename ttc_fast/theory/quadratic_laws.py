"""Errors that are quadratic in a thought, from its mean and covariance: of one decode and of the mean of k."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..tasks.quadratic import QUADRATIC, Quadratic, QuadraticMetric, quadratic
from .gaussian import MeanAndSpread, error_of_mean
from .laws import Problem

QUADRATIC_METRICS = "squared error, prediction risk, in-context loss"
"""In words, for the list of laws."""


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
