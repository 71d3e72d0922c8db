"""From the law of one group of samples to that of a measured figure: a mean over groups, in rounded numbers.

A mean over all subsets of k of N samples is at most as spread as one over m = floor(N / k) groups without a sample in
common, which is exact for groups (Hoeffding, Journal of the American Statistical Association 58, 1963, section 5):
variance v / m, scale c / m.

Theory is of exact numbers, the chain is rounded. Of sums of n terms rounding errors grow as sqrt(n) u, with unit
roundoff u, a few times of which they hardly exceed (Higham, Mary, SIAM Journal on Scientific Computing 41, 2019): so a
thought of T steps in d dimensions has the relative error e = 4 sqrt(d T) u, a metric of degree 2 with the value q, and
U of no thought, one of e (sqrt(U) + sqrt(q)) (2 sqrt(q) + e (sqrt(U) + sqrt(q))), whose square joins the variance. A
drawn bit flips where rounding decides, or where the uniform number is not finer than its probability: of k answers at
most with probability k e, by at most the range 3 c.
"""

from __future__ import annotations

import numpy as np
import torch

from ..estimators.arrays import Array
from ..estimators.key import Key
from ..tasks import metrics as all_metrics
from .laws import Problem

LAW = 1e-8
"""Relative accuracy of the laws themselves."""

FINEST = 2.0**-24
"""Of a uniform number that decides a bit."""


def of_figure(
    problem: Problem, key: Key, mean: Array, variance: Array, scale: Array, repeats: Array
) -> tuple[Array, Array]:
    """Variance and scale of a measured figure.

    Args:
        problem: the prompts.
        key: what the figure is about.
        mean, variance, scale: in theory, of one group of samples ``[B]``; NaN where not known.
        repeats: groups of samples ``[B]``, NaN where not known.

    Returns:
        ``[B]`` each.
    """
    unit = torch.finfo(problem.prompts.x.dtype).eps / 2
    growth = 4 * (problem.model.dim * key.steps) ** 0.5
    groups = np.where(variance == 0, 1.0, repeats)  # what is certain is the same in all groups
    with np.errstate(over="ignore", invalid="ignore"):  # chains that diverge
        error = LAW * np.abs(mean) + _of_metric(problem, key.metric, np.abs(mean), growth * unit)
        if key.coefficients == "binary":
            flipped = min(1.0, key.samples * growth * max(unit, FINEST))
            variance = variance + flipped * (3 * scale) ** 2
            error = error + flipped * 3 * scale
        return variance / groups + error**2, scale / groups


def _of_metric(problem: Problem, metric: str, mean: Array, error: float) -> Array:
    """Rounding error of a metric with the value ``mean [B]``, from that of the thought."""
    size = problem.cached(("of no thought", metric), lambda: _of_no_thought(problem, metric))
    if metric == "error_norm":
        return error * (size + mean)
    own = error * (np.sqrt(size) + np.sqrt(mean))
    return np.asarray(own * (2 * np.sqrt(mean) + own))


def _of_no_thought(problem: Problem, metric: str) -> Array:
    """A metric of w = 0 ``[B]``; 1 for one that is not ours."""
    prompts = problem.seen
    if metric not in all_metrics.METRICS:
        return np.ones(len(prompts))
    w = torch.zeros_like(prompts.x[:, :1])
    found: Array = all_metrics.measure(prompts, w, [metric], bits=False)[metric][:, 0].abs().double().numpy()
    return found
