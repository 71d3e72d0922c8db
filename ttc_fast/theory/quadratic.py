"""Selection by a score that is quadratic in a Gaussian thought: best-of-N, and the law of an error.

Scores of verifiers and errors are quadratic in w, so that everything follows from joint laws of quadratic forms of a
Gaussian. All is float64; formulas that are not of a cited paper are derived here, and tested against quadrature or
simulation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..numerics import check
from ..tasks.quadratic import Quadratic
from .gaussian import GaussianLaw, error_of_mean, spread_of_error
from .score_law import LawOfScore


def gaussian_best_of_n(
    law: GaussianLaw, score: Quadratic, metrics: Sequence[Quadratic], budgets: Sequence[int], *, noise: float = 0.0
) -> Tensor:
    """Expected metrics of the candidate with the highest score -q(w) + noise N(0, 1) among k.

    E = int E[metric; q] k (1 - F(q))^{k-1} dq, where the density of q with the conditional metric, and the law F of
    q, come by inverting their transforms (Rice, SIAM J. Sci. Stat. Comput. 1, 1980), see
    :class:`~.score_law.LawOfScore`; the matrices of score and metric need not commute. Accuracy: 1e-8 relative.

    Args:
        law: of one candidate.
        score: q; with the squared error, the oracle best-of-N.
        metrics: what is asked of the chosen candidate.
        budgets: the k.
        noise: standard deviation of the score's own noise.

    Returns:
        ``[metrics, B, K]``.

    Raises:
        ValueError, TypeError: a budget is below 1, or the noise is negative.

    The best of k standard normal pairs by their own squared norm has 2 / k on average:

    >>> eye, zeros = torch.eye(2).double()[None], torch.zeros(1, 2).double()
    >>> norm = Quadratic(eye, zeros, torch.zeros(1).double())
    >>> gaussian_best_of_n(GaussianLaw(zeros, eye), norm, [norm], [1, 4])[0, 0].numpy().round(6).tolist()
    [2.0, 0.5]
    """
    return moments_of_best(law, score, metrics, budgets, noise=noise)[0]


def moments_of_best(
    law: GaussianLaw, score: Quadratic, metrics: Sequence[Quadratic], budgets: Sequence[int], *, noise: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Mean and variance of metrics of the candidate with the highest score, as :func:`gaussian_best_of_n`.

    The variance is that of the mean given q, plus the mean of the variance given q: no difference of large numbers.
    Where only one coefficient varies, its accuracy is 1e-5.

    Args:
        law, score, metrics, budgets, noise: as there.

    Returns:
        ``[metrics, B, K]`` each.

    Raises:
        ValueError, TypeError: a budget is below 1, or the noise is negative.

    >>> eye, zeros = torch.eye(2).double()[None], torch.zeros(1, 2).double()
    >>> norm = Quadratic(eye, zeros, torch.zeros(1).double())
    >>> variance = moments_of_best(GaussianLaw(zeros, eye), norm, [norm], [1, 4])[1]
    >>> variance[0, 0].numpy().round(6).tolist()  # of exponential laws with means 2 and 1/2
    [4.0, 0.25]
    """
    check.number("noise", noise, low=0.0)
    ks = [check.integer("budgets", k, 1, 2**34) for k in budgets]
    scores = LawOfScore(law.mean, law.root, score, noise)
    grid = scores.on_grid(max(ks), metrics)
    k = torch.tensor(ks, dtype=torch.float64)[:, None]
    chosen = grid.probability[:, None] * k * grid.above[:, None] ** (k - 1)  # [B, K, Q]
    means = (grid.mean[:, :, None] * chosen).sum(3)
    squares = (grid.mean[:, :, None] - means[..., None]) ** 2 + grid.variance[:, :, None]
    variances = (squares * chosen).sum(3)
    if not bool(scores.varies.all()):  # where all candidates are as good: one decode
        for i, metric in enumerate(metrics):
            means[i] = means[i].where(scores.varies[:, None], error_of_mean(law, metric, [1]))
            variances[i] = variances[i].where(scores.varies[:, None], spread_of_error(law, metric, [1])[0])
    return means, variances.clamp_min(0)


def success_probability(law: GaussianLaw, metric: Quadratic, threshold: float) -> Tensor:
    """P(error <= threshold) of one decode: the law of a quadratic form of a Gaussian.

    Args:
        law: of a thought.
        metric: q.
        threshold: what counts as a success.

    Returns:
        p ``[B]``; pass@k given the prompt is 1 - (1 - p)^k.

    Raises:
        ValueError, TypeError: the threshold is not a finite number.

    >>> eye, zeros = torch.eye(2).double()[None], torch.zeros(1, 2).double()
    >>> norm = Quadratic(eye, zeros, torch.zeros(1).double())
    >>> success_probability(GaussianLaw(zeros, eye), norm, 2.0).numpy().round(6).tolist()  # 1 - 1/e
    [0.632121]
    """
    check.number("threshold", threshold)
    scores = LawOfScore(law.mean, law.root, metric, 0.0)
    certain = (metric(law.mean) <= threshold).double()
    return scores.probability(threshold).where(scores.varies, certain)
