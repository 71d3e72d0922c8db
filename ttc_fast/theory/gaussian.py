"""Given a prompt, Gaussian rule: the exact law of a thought, and the errors of means of thoughts.

The chain w_{t+1} = M w_t + c + sigma_t xi_t, M = I - P S, c = P b, is linear, so that w_T is Gaussian. All is float64
and batched over prompts; formulas that are not of a cited paper are derived from the recursion, and tested against
quadrature, recursion or simulation.

Valid for any linear state, hence any preconditioner, with any schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..decoding.gaussian_chain import affine, transition
from ..decoding.rules import GaussianNoise, Rule
from ..numerics import check, sums
from ..numerics.protocols import complete, described
from ..tasks.quadratic import Quadratic


@dataclass(frozen=True, eq=False)
class GaussianLaw:
    """A Gaussian law of thoughts, N(mean, root root^T)."""

    mean: Tensor
    """``[B, d]``."""
    root: Tensor
    """``[B, d, d]``."""

    @property
    def covariance(self) -> Tensor:
        """``[B, d, d]``."""
        return sums.products(self.root, self.root.mT)

    def spread(self, matrix: Tensor) -> Tensor:
        """tr(matrix C) ``[B]``, C the covariance."""
        return (self.root * sums.products(matrix, self.root)).sum((1, 2))


def gaussian_law(state: Tensor, rule: Rule, steps: int, w0: Tensor | None = None) -> GaussianLaw:
    """Mean and covariance of the thought w_T given its prompt.

    In the eigenbasis of S, for P = eta I: mu_i = a_i^T w0_i + (1 - a_i^T) what_i and v_i = sum_t sigma_t^2
    a_i^{2(T-1-t)}, with least squares what = S^+ b.

    Args:
        state: ``[B, d, d+1]``.
        rule: the noise, in units of w.
        steps: T.
        w0: initial thought ``[B, d]``, default zero.

    Returns:
        The law of w_T, float64 on the CPU.

    Raises:
        TypeError: the rule is of another kind.
        ValueError: a shape is not as described.

    >>> import ttc_fast as tf
    >>> prompts = tf.LinearRegression(4, 16).sample(3)
    >>> model = tf.LinearAttention.gradient_descent(4, examples=16)
    >>> law = gaussian_law(model.prefill(prompts).linear, tf.GaussianNoise(0.2), steps=8)
    >>> law.mean.shape, law.covariance.shape
    (torch.Size([3, 4]), torch.Size([3, 4, 4]))
    """
    check.tensor("state", state, ("B", "d", "d+1"))
    steps = check.integer("steps", steps, 0, 2**34)
    encoded = complete(rule, Rule, "rule").encode(steps)
    if encoded is None or encoded.kind != "gaussian":
        raise TypeError(f"rule: expected GaussianNoise, got {described(rule)}; theory.binary has laws of bits")
    matrix, offset, root = transition(state, encoded.scales(steps))
    if w0 is None:
        return GaussianLaw(offset, root)
    check.tensor("w0", w0, state.shape[:2])
    return GaussianLaw(sums.products(matrix, w0.detach().cpu().double()[:, :, None])[:, :, 0] + offset, root)


class MeanAndSpread(Protocol):
    """What the error of a mean of thoughts needs of their law, Gaussian or not."""

    @property
    def mean(self) -> Tensor:
        """mu ``[B, d]``."""

    def spread(self, matrix: Tensor) -> Tensor:
        """tr(matrix C) ``[B]`` of symmetric matrices ``[B, d, d]``, C the covariance."""


def error_of_mean(law: MeanAndSpread, metric: Quadratic, budgets: Sequence[float]) -> Tensor:
    """Expected error of the mean of k samples, q(mu) + tr(A C) / k.

    Args:
        law: of one sample, with mean mu and covariance C.
        metric: q, with the matrix A.
        budgets: the k; ``math.inf`` is the infinite mean.

    Returns:
        ``[B, K]``.

    >>> eye, zeros = torch.eye(2).double()[None], torch.zeros(1, 2).double()
    >>> norm = Quadratic(eye, zeros, torch.zeros(1).double())
    >>> error_of_mean(GaussianLaw(zeros, eye), norm, [1, 4]).tolist()
    [[2.0, 0.5]]
    """
    spread = law.spread(metric.matrix)
    return metric(law.mean)[:, None] + spread[:, None] / torch.tensor(budgets, dtype=torch.float64)


def spread_of_error(law: GaussianLaw, metric: Quadratic, budgets: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Variance and scale of the error of the mean of k samples.

    q(w) = constant + sum_i lambda_i (z_i + e_i)^2 has the variance v = 2 tr((A C)^2) + 4 delta^T A C A delta, delta =
    mu - centre, and ln E exp(s (q - E q)) <= s^2 v / (2 (1 - 2 s lambda_max)): it is sub-gamma with that variance and
    the scale 2 lambda_max (Laurent, Massart, Annals of Statistics 28, 2000, lemma 1; Boucheron, Lugosi, Massart,
    Concentration Inequalities, 2013, section 2.4). For lambda_max stands tr((A C)^8)^{1/8}, which is at least as large.

    Args:
        law: of one sample, with mean mu and covariance C.
        metric: q, with the matrix A.
        budgets: the k, with C / k for C.

    Returns:
        ``[B, K]`` each.

    >>> eye, zeros = torch.eye(1).double()[None], torch.zeros(1, 1).double()
    >>> [x.tolist() for x in spread_of_error(GaussianLaw(zeros, eye), Quadratic(eye, zeros, zeros[0]), [1, 4])]
    [[[2.0, 0.125]], [[2.0, 0.5]]]
    """
    k = torch.tensor(budgets, dtype=torch.float64)
    loading = sums.products(metric.matrix, law.root)
    inner = sums.products(law.root.mT, loading)
    slope = sums.products(loading.mT, (law.mean - metric.centre)[:, :, None]).square().sum((1, 2))
    size = inner.square().sum((1, 2)).sqrt()
    power = inner / size.where(size > 0, 1.0)[:, None, None]
    for _ in range(2):
        power = sums.products(power, power)
    largest = size * power.square().sum((1, 2)) ** 0.125
    return 2 * (size[:, None] / k) ** 2 + 4 * slope[:, None] / k, 2 * largest[:, None] / k


def modes_that_improve(
    state: Tensor, w_star: Tensor, noise_scale: float, samples: int, w0: Tensor | None = None
) -> Tensor:
    """Along which eigenvectors of S one more step lowers the error of the mean of N: overthinking mode by mode.

    (w0 - w*)_i^2 > sigma^2 / (N (1 - a_i^2)), for every T alike. Valid for noise-free labels, constant noise, P =
    eta I and a stable chain, eta lambda_max < 2.

    Args:
        state: ``[B, d, d+1]``.
        w_star: ``[B, d]``.
        noise_scale: sigma.
        samples: N.
        w0: initial thought ``[B, d]``, default zero.

    Returns:
        bool ``[B, d]``, by descending eigenvalue of S.

    Raises:
        ValueError: P is not a multiple of I, or a shape is not as described.
    """
    check.tensor("w_star", w_star, state.shape[:2])
    check.number("noise_scale", noise_scale, low=0.0)
    check.integer("samples", samples, 1, 2**34)
    M, _ = affine(state)
    if not torch.equal(M, M.mT):
        raise ValueError("state: expected P = eta I, got a preconditioner that is not a multiple of I")
    a, axes = sums.eigh(M)
    start = torch.zeros_like(w_star) if w0 is None else check.tensor("w0", w0, w_star.shape)
    gap = sums.products(axes.mT, (start - w_star).cpu().double()[:, :, None])[:, :, 0]
    improves: Tensor = samples * gap.square() * (1 - a.square()) > noise_scale**2
    return improves


class WeightedLaw(NamedTuple):
    """The law of thoughts that are weighted by exp(-beta q)."""

    law: GaussianLaw
    log_evidence: Tensor
    """ln E exp(-beta q), ``[B]``."""


def tilt(law: GaussianLaw, score: Quadratic, beta: float) -> WeightedLaw:
    """The law of candidates weighted by exp(beta score), whose mean is the limit of softmax_mean.

    In the eigenbasis of S: mean what_i + delta_i / (1 + beta lambda_i v_i), variance v_i / (1 + beta lambda_i v_i).

    Args:
        law: of one candidate.
        score: q; the score is -q.
        beta: at least 0.

    Returns:
        The weighted law, and ln E exp(-beta q).

    Raises:
        ValueError, TypeError: beta is negative or no number.

    >>> eye, zeros = torch.eye(2).double()[None], torch.zeros(1, 2).double()
    >>> half_norm = Quadratic(eye / 2, zeros, torch.zeros(1).double())
    >>> tilt(GaussianLaw(zeros, eye), half_norm, beta=3.0).law.covariance[0].numpy().round(6).tolist()
    [[0.25, 0.0], [0.0, 0.25]]
    """
    check.number("beta", beta, low=0.0)
    delta = (law.mean - score.centre)[:, :, None]
    loading = 2 * beta * sums.products(law.root.mT, score.matrix)
    precision = torch.eye(delta.shape[1], dtype=torch.float64) + sums.products(loading, law.root)
    factor, half, root = sums.alone(_whitened, precision, sums.products(loading, delta), law.root)
    log_evidence = half.square().sum((1, 2)) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return WeightedLaw(
        GaussianLaw(law.mean - sums.products(root, half)[:, :, 0], root), log_evidence - beta * score(law.mean)
    )


def _whitened(precision: Tensor, gradient: Tensor, root: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of one prompt: the factor L of the precision, L^-1 gradient, and root L^-T."""
    factor = torch.linalg.cholesky(precision)
    half = torch.linalg.solve_triangular(factor, gradient, upper=False)
    return factor, half, torch.linalg.solve_triangular(factor, root.mT, upper=False).mT


def filter_law(
    state: Tensor, rule: GaussianNoise, steps: int, score: Quadratic, beta: float, *, every: int = 1
) -> WeightedLaw:
    """What particle_filter estimates: the Kalman filter and its evidence.

    Kalman, 1960. The potentials are exp(-beta q(w_t)). They are at every ``every`` steps and at the last; from w_0 = 0.

    Args:
        state: ``[B, d, d+1]``.
        rule: the noise, in units of w.
        steps: T.
        score: q; the score is -q.
        beta: at least 0.
        every: steps between two potentials.

    Returns:
        The law of w_T with all weights, and ln Z.

    Raises:
        ValueError, TypeError: an argument is not as described.
    """
    steps, every = check.integer("steps", steps, 1, 2**34), check.integer("every", every, 1, 2**34)
    scales = rule.scales(steps)
    law, log_evidence = gaussian_law(state, GaussianNoise(0.0), 0), torch.zeros(len(state), dtype=torch.float64)
    for start in range(0, steps, every):
        matrix, offset, root = transition(state, scales[start : min(start + every, steps)])
        mean = sums.products(matrix, law.mean[:, :, None])[:, :, 0] + offset
        covariance = sums.products(sums.products(matrix, law.covariance), matrix.mT) + sums.products(root, root.mT)
        variance, axes = sums.eigh(covariance)
        law, gain = tilt(GaussianLaw(mean, axes * variance.clamp_min(0).sqrt()[:, None]), score, beta)
        log_evidence = log_evidence + gain
    return WeightedLaw(law, log_evidence)
