"""Given a prompt, Gaussian rule: the exact law of a thought and the errors of the techniques.

The chain w_{t+1} = M w_t + c + sigma_t xi_t, M = I - P S, c = P b, is linear, so that w_T is Gaussian. Scores
of verifiers and errors are quadratic in w, so that everything follows from joint laws of quadratic forms of
a Gaussian. All is float64 and batched over prompts; formulas that are not of a cited paper are derived from
the recursion, and tested against quadrature, recursion or simulation.

Valid for any state (:meth:`ttc_fast.LinearAttention.prefill`), hence any preconditioner, with any schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..decoding.rules import GaussianNoise
from ..numerics import check, sums
from ..tasks.prompts import Prompts
from ..techniques.verifiers import HeldOutLoss, InContextLoss, NoisyVerifier, Oracle, Verifier, WrongVerifier

QuadraticMetric = Literal["squared_error", "prediction_risk", "in_context_loss"]


class Transition(NamedTuple):
    """w_{t+k} = matrix w_t + offset + root z, z ~ N(0, I)."""

    matrix: Tensor
    """``[B, d, d]``."""
    offset: Tensor
    """``[B, d]``."""
    root: Tensor
    """``[B, d, d]``; the covariance is root root^T."""


class Law(NamedTuple):
    """A Gaussian law of thoughts, N(mean, root root^T)."""

    mean: Tensor
    """``[B, d]``."""
    root: Tensor
    """``[B, d, d]``."""

    @property
    def covariance(self) -> Tensor:
        """``[B, d, d]``."""
        return self.root @ self.root.mT


class Quadratic(NamedTuple):
    """q(w) = (w - centre)^T matrix (w - centre) + constant, for each prompt; the matrix is symmetric."""

    matrix: Tensor
    """``[B, d, d]``."""
    centre: Tensor
    """``[B, d]``."""
    constant: Tensor
    """``[B]``."""

    def __call__(self, w: Tensor) -> Tensor:
        """Of ``[B, d]``: ``[B]``."""
        return _form(self.matrix, w - self.centre, w - self.centre) + self.constant


def transition(state: Tensor, scales: Tensor) -> Transition:
    """The law of w_{t+k} given w_t over k steps with noise ``scales [k]``.

    With symmetric M (P = eta I) in its eigenbasis: a_i^k, sum_j a_i^j and sum_j sigma_j^2 a_i^{2(k-1-j)} for the
    eigenvalues a_i = 1 - eta lambda_i, at a cost of B k d numbers; else by k products of matrices. The bits
    do not depend on the other prompts of a batch in which every M is symmetric, or none.

    Args:
        state: ``[B, d, d+1]``.
        scales: sigma_t, in units of w.
    """
    dim, steps = state.shape[1], len(scales)
    state = state.detach().cpu().double()
    M, c = torch.eye(dim, dtype=torch.float64) + state[:, :, :-1], -state[:, :, -1]
    if not torch.equal(M, M.mT):
        return _transition_by_products(M, c, scales)
    a, axes = torch.linalg.eigh(M)
    powers = a ** torch.arange(steps, dtype=torch.float64)[:, None, None]  # [k, B, d]
    total = sums.tree_sum(powers, 0) if steps else torch.zeros_like(a)
    variance = sums.tree_sum((powers * scales.flip(0)[:, None, None]) ** 2, 0) if steps else total
    matrix = sums.matmul(axes * (a**steps)[:, None], axes.mT)
    offset = sums.matmul(sums.matmul(axes * total[:, None], axes.mT), c[:, :, None])
    return Transition(matrix, offset[:, :, 0], axes * variance.sqrt()[:, None])


def _transition_by_products(M: Tensor, c: Tensor, scales: Tensor) -> Transition:
    identity = torch.eye(M.shape[1], dtype=torch.float64).expand_as(M)
    matrix, offset, covariance = identity, torch.zeros_like(c)[:, :, None], torch.zeros_like(M)
    for scale in scales.tolist():
        matrix, offset = sums.matmul(M, matrix), sums.matmul(M, offset) + c[:, :, None]
        covariance = sums.matmul(sums.matmul(M, covariance), M.mT) + scale**2 * identity
    variance, axes = torch.linalg.eigh(covariance)
    return Transition(matrix, offset[:, :, 0], axes * variance.clamp_min(0).sqrt()[:, None])


def gaussian_law(state: Tensor, rule: GaussianNoise, steps: int, w0: Tensor | None = None) -> Law:
    """Mean and covariance of the thought w_T.

    In the eigenbasis of S, for P = eta I: mu_i = a_i^T w0_i + (1 - a_i^T) what_i and v_i = sum_t sigma_t^2
    a_i^{2(T-1-t)}, with least squares what = S^+ b.

    Args:
        state: ``[B, d, d+1]``.
        rule: the noise, in units of w.
        steps: T.
        w0: initial thought ``[B, d]``, default zero.
    """
    check.tensor("state", state, ("B", "d", "d+1"))
    steps = check.integer("steps", steps, 0, 2**34)
    if not isinstance(rule, GaussianNoise):
        raise TypeError(f"rule: expected GaussianNoise, got {type(rule).__name__}; binary laws are in theory.binary")
    matrix, offset, root = transition(state, rule.scales(steps))
    if w0 is None:
        return Law(offset, root)
    check.tensor("w0", w0, state.shape[:2])
    return Law((matrix @ w0.detach().cpu().double()[:, :, None])[:, :, 0] + offset, root)


def quadratic(prompts: Prompts, metric: QuadraticMetric) -> Quadratic:
    """A metric of :mod:`ttc_fast.metrics` as a quadratic form: |w - w*|^2 / d, (w - w*)^T Lambda (w - w*), or
    (w - what)^T S (w - what) / 2 + constant, with least squares what.

    Raises:
        ValueError: the metric needs w*, and the prompts lack it.
    """
    check.choice("metric", metric, ("squared_error", "prediction_risk", "in_context_loss"))
    x, y = prompts.x.cpu().double(), prompts.y.cpu().double()
    count, examples, dim = x.shape
    if metric == "in_context_loss":
        estimate = (torch.linalg.pinv(x) @ y[:, :, None])[:, :, 0]
        residual = y - (x @ estimate[:, :, None])[:, :, 0]
        return Quadratic(x.mT @ x / (2 * examples), estimate, residual.square().sum(1) / (2 * examples))
    if prompts.w_star is None:
        raise ValueError(f"w_star: expected the true coefficients for {metric}, got prompts without them")
    covariance = prompts.covariance.cpu().double()
    weight = torch.eye(dim, dtype=torch.float64) / dim
    if metric == "prediction_risk":
        weight = torch.diag(covariance) if covariance.ndim == 1 else covariance
    return Quadratic(weight.expand(count, -1, -1), prompts.w_star.cpu().double(), torch.zeros(count).double())


def judge(prompts: Prompts, verifier: Verifier) -> tuple[Quadratic, float]:
    """A verifier as a quadratic form, score(w) = -q(w) + noise N(0, 1): the form and the noise.

    Raises:
        ValueError: the score is not such a form: process rewards, false positives.
    """
    if isinstance(verifier, NoisyVerifier) and verifier.false_positive_rate == 0:
        form, noise = judge(prompts, verifier.verifier)
        return form, math.hypot(noise, verifier.noise)
    if isinstance(verifier, InContextLoss):
        return quadratic(prompts, "in_context_loss"), 0.0
    if isinstance(verifier, HeldOutLoss):
        examples = verifier.examples
        verifier.context(prompts)  # complains if there are too few examples
        held_out = replace(prompts, x=prompts.x[:, -examples:], y=prompts.y[:, -examples:])
        return quadratic(held_out, "in_context_loss"), 0.0
    if isinstance(verifier, Oracle):
        return quadratic(prompts, "squared_error"), 0.0
    if isinstance(verifier, WrongVerifier):
        loss = quadratic(prompts, "in_context_loss")
        return Quadratic(loss.matrix, verifier.aim(prompts).cpu().double(), torch.zeros_like(loss.constant)), 0.0
    raise ValueError(f"verifier: expected one whose score is quadratic in w but for Gaussian noise, got {verifier}")


def error_of_mean(law: Law, metric: Quadratic, budgets: Sequence[float]) -> Tensor:
    """Expected error of the mean of k samples, q(mu) + tr(A C) / k: ``[B, K]``. k = 1 is one decode, and
    ``math.inf`` the infinite mean."""
    spread: Tensor = (law.root * (metric.matrix @ law.root)).sum((1, 2))
    return metric(law.mean)[:, None] + spread[:, None] / torch.tensor(budgets, dtype=torch.float64)


def modes_that_improve(
    state: Tensor, w_star: Tensor, noise_scale: float, samples: int, w0: Tensor | None = None
) -> Tensor:
    """Per-mode overthinking: whether one more step lowers the error of the mean of N along each eigenvector.

    (w0 - w*)_i^2 > sigma^2 / (N (1 - a_i^2)), for every T alike. Valid for noise-free labels, constant noise, P =
    eta I and a stable chain, eta lambda_max < 2.

    Returns:
        bool ``[B, d]``, by descending eigenvalue of S.
    """
    check.tensor("w_star", w_star, state.shape[:2])
    check.number("noise_scale", noise_scale, low=0.0)
    check.integer("samples", samples, 1, 2**34)
    M = torch.eye(state.shape[1], dtype=torch.float64) + state.detach().cpu().double()[:, :, :-1]
    if not torch.equal(M, M.mT):
        raise ValueError("state: expected P = eta I, got a preconditioner that is not a multiple of I")
    a, axes = torch.linalg.eigh(M)
    start = torch.zeros_like(w_star) if w0 is None else check.tensor("w0", w0, w_star.shape)
    gap = (axes.mT @ (start - w_star).cpu().double()[:, :, None])[:, :, 0]
    improves: Tensor = samples * gap.square() * (1 - a.square()) > noise_scale**2
    return improves


Batch = TypeVar("Batch", Law, Quadratic)


class Tilted(NamedTuple):
    """A law with weights exp(-beta q)."""

    law: Law
    log_evidence: Tensor
    """ln E exp(-beta q), ``[B]``."""


def tilt(law: Law, verifier: Quadratic, beta: float) -> Tilted:
    """The law of the candidates weighted by exp(beta score), score = -q: what the softmax-weighted mean tends to
    for many samples is its mean. In the eigenbasis of S: mean what_i + delta_i / (1 + beta lambda_i v_i), variance
    v_i / (1 + beta lambda_i v_i)."""
    check.number("beta", beta, low=0.0)
    delta = (law.mean - verifier.centre)[:, :, None]
    precision = torch.eye(delta.shape[1], dtype=torch.float64) + 2 * beta * law.root.mT @ verifier.matrix @ law.root
    pull = 2 * beta * law.root.mT @ verifier.matrix @ delta
    factor = torch.linalg.cholesky(precision)
    half = torch.linalg.solve_triangular(factor, pull, upper=False)
    root = torch.linalg.solve_triangular(factor, law.root.mT, upper=False).mT
    log_evidence = half.square().sum((1, 2)) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return Tilted(Law(law.mean - (root @ half)[:, :, 0], root), log_evidence - beta * verifier(law.mean))


def filter_law(
    state: Tensor, rule: GaussianNoise, steps: int, verifier: Quadratic, beta: float, *, every: int = 1
) -> Tilted:
    """What :func:`ttc_fast.particle_filter` estimates: the Kalman filter with potentials exp(-beta q(w_t)) at
    every ``every`` steps and at the last, and its evidence ln Z (Kalman, 1960). From w_0 = 0."""
    steps, every = check.integer("steps", steps, 1, 2**34), check.integer("every", every, 1, 2**34)
    scales = rule.scales(steps)
    law, log_evidence = gaussian_law(state, GaussianNoise(0.0), 0), torch.zeros(len(state), dtype=torch.float64)
    for start in range(0, steps, every):
        matrix, offset, root = transition(state, scales[start : min(start + every, steps)])
        mean = (matrix @ law.mean[:, :, None])[:, :, 0] + offset
        covariance = matrix @ law.covariance @ matrix.mT + root @ root.mT
        variance, axes = torch.linalg.eigh(covariance)
        law, gain = tilt(Law(mean, axes * variance.clamp_min(0).sqrt()[:, None]), verifier, beta)
        log_evidence = log_evidence + gain
    return Tilted(law, log_evidence)


def best_of_n(
    law: Law, verifier: Quadratic, metrics: Sequence[Quadratic], budgets: Sequence[int], *, noise: float = 0.0
) -> Tensor:
    """Expected metrics of the candidate with the highest score -q(w) + noise N(0, 1) among k: ``[metrics, B, K]``.

    E = int E[metric; q] k (1 - F(q))^{k-1} dq, where the density of q with the conditional metric, and the law F of
    q, come by inverting their transforms (Rice, SIAM J. Sci. Stat. Comput. 1, 1980), see :class:`_Form`; the
    matrices of verifier and metric need not commute. Accuracy: 1e-8 relative. With
    verifier = metric = :class:`Oracle`'s, the oracle best-of-N.
    """
    check.number("noise", noise, low=0.0)
    ks = [check.integer("budgets", k, 1, 2**34) for k in budgets]
    result = torch.empty(len(metrics), len(law.mean), len(ks), dtype=torch.float64)
    for b in range(len(law.mean)):
        form = _Form(_at(law, b), _at(verifier, b), noise)
        if not form.random:  # all scores are equal: one decode
            for i, metric in enumerate(metrics):
                result[i, b] = error_of_mean(_one(law, b), _one(metric, b), [1])[0, 0]
            continue
        weight, survival, densities = form.scan(max(ks), [_at(metric, b) for metric in metrics])
        for j, k in enumerate(ks):
            result[:, b, j] = (densities * (weight * k * survival ** (k - 1))).sum(1)
    return result


def success_probability(law: Law, metric: Quadratic, threshold: float) -> Tensor:
    """P(q(w) <= threshold) of one decode, the law of a quadratic form of a Gaussian: ``[B]``; pass@k given the
    prompt is 1 - (1 - p)^k."""
    check.number("threshold", threshold)
    values = []
    for b in range(len(law.mean)):
        form = _Form(_at(law, b), _at(metric, b), 0.0)
        values.append(form.probability(threshold) if form.random else float(metric(law.mean)[b] <= threshold))
    return torch.tensor(values, dtype=torch.float64)


class _Form:
    """The law of q = sum_i k_i (z_i + e_i)^2 + rest + noise, z ~ N(0, I), and of metrics given q.

    The rest is left out below: it would cost small q - rest their digits. The Laplace transform is exp(s^2 noise^2
    / 2) prod_i D_i^{-1/2} exp(-s k_i e_i^2 / D_i), D_i = 1 + 2 s k_i. The inverse integral runs along a hyperbola
    through the saddle point, bent as steepest descent is there: no cancellation, so that even tiny tails keep their
    relative accuracy, and convergence for every d >= 1.
    """

    def __init__(self, law: Law, verifier: Quadratic, noise: float) -> None:
        self.law, self.noise = law, noise
        loading = verifier.matrix @ law.root
        k, axes = torch.linalg.eigh(law.root.mT @ loading)
        self.k = k.clamp_min(0)
        self.root = law.root @ axes
        delta = law.mean - verifier.centre
        active = self.k > 1e-14 * self.k.max()
        self.e = torch.where(active, (axes.mT @ (loading.mT @ delta)) / self.k.where(active, torch.ones(1).double()), 0)
        self.k = self.k.where(active, 0.0)
        self.rest = float(verifier(law.mean) - (self.k * self.e**2).sum())
        self.random = bool(active.any()) and float(self.k.max()) > 0
        self.scale = 1 / (2 * float(self.k.max())) if self.random else 0.0

    def _log(self, s: Tensor, inverse: Tensor) -> Tensor:
        """Logarithm of the transform of q - rest at complex ``s``; inverse = 1 / D, s k / D = (1 - 1 / D) / 2."""
        real, imaginary = inverse.real, inverse.imag
        size = (real**2 + imaginary**2).log().sum(-1) / 4  # in real numbers: much faster than complex logarithms
        turn = torch.atan2(imaginary, real).sum(-1) / 2
        e2 = self.e**2 / 2
        return torch.complex(size + real @ e2 - e2.sum(), turn + imaginary @ e2) + s**2 * self.noise**2 / 2

    def _derivatives(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First three derivatives of the logarithm at real ``s``."""
        r = 2 * self.k / (1 + 2 * s[:, None] * self.k)
        e2 = self.e**2 / (1 + 2 * s[:, None] * self.k)
        first = -(r * (1 + e2) / 2).sum(1) + s * self.noise**2
        second = (r**2 * (1 + 2 * e2) / 2).sum(1) + self.noise**2
        third = -(r**3 * (1 + 3 * e2)).sum(1)
        return first, second, third

    def _contour(self, s: Tensor, reach: float = 5.0) -> tuple[Tensor, Tensor]:
        """Nodes and weights [Q, Y] of (1 / 2 pi i) int ds through real points near the saddles ``s``, upper half."""
        _, second, _ = self._derivatives(s)
        width = second.rsqrt()
        # The law F has a pole at 0: keep about a width away, on the side of the saddle.
        point = s / 2 + torch.where(s >= 0, 1.0, -1.0) * (s**2 / 4 + width**2).sqrt()
        point = torch.maximum(point, (s - self.scale) / 2)
        _, second, third = self._derivatives(point)
        width, bend = second.rsqrt()[:, None], (-third / (6 * second))[:, None]
        # Where the slope is below 1, exp(s^2 noise^2 / 2) decays along the arms.
        slope, count = (0.5, 52) if self.noise else (1.0, 32)
        v = torch.linspace(0, reach, count, dtype=torch.float64)
        y = width * v.sinh()
        inner = (1 + (2 * bend * y / slope**2) ** 2).sqrt()
        drop = 2 * bend * y**2 / (1 + inner)  # (inner - 1) slope^2 / (2 bend), without cancellation
        drop = drop.where(bend > 0, 0.0)
        speed = torch.complex(-2 * bend * y / inner, torch.ones_like(y)) * width * v.cosh() * (reach / (count - 1))
        trapezoid = torch.where(torch.arange(count) == 0, 0.5, 1.0)
        return torch.complex(point[:, None] - drop, y), speed * trapezoid / (math.pi * 1j)

    def scan(self, samples: int, metrics: Sequence[Quadratic]) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of int dq [Q], P(above q), and each metric's density [metrics, Q]."""
        s, weight = self._saddles(samples)
        node, step = self._contour(s)
        inverse = 1 / (1 + 2 * node[..., None] * self.k)
        wave = (self._log(node, inverse) - node * self._derivatives(s)[0][:, None]).exp() * step
        below = (wave / node).real.sum(1)
        survival = torch.where(s >= 0, 1 - below, -below).clamp(0, 1)
        # Given the node, z has mean e (1 / D - 1) and variance 1 / D: moments of z times the density of q.
        shift = self.e * (inverse - 1)
        pull = wave[..., None] * shift
        second = pull.real.mT @ shift.real - pull.imag.mT @ shift.imag
        second.diagonal(dim1=1, dim2=2).add_((wave[..., None] * inverse).real.sum(1))
        densities = [self._density(metric, wave.real.sum(1), pull.real.sum(1), second) for metric in metrics]
        return weight, survival, torch.stack(densities)

    def _density(self, metric: Quadratic, zeroth: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """A metric's density [Q] from the moments of z."""
        loading = metric.matrix @ self.root
        h = loading.mT @ (self.law.mean - metric.centre)
        value: Tensor = metric(self.law.mean) * zeroth + 2 * first @ h + (second * (self.root.mT @ loading)).sum((1, 2))
        return value

    def _saddles(self, samples: int) -> tuple[Tensor, Tensor]:
        """Saddle points s and weights r / s dr of int K'' ds, on an even grid of r = sign(s) sqrt(2 rate).

        The tails beyond q(s) = -K'(s) are at most exp(-rate), rate = -K(s) - s q(s); in r every density is about a
        normal one. Newton's method on r(x), s = scale (e^x - 1), from a table.
        """
        # The best of N lies near r = sqrt(2 ln N), within about 1 / r.
        spacing = min(0.12, 0.45 / math.sqrt(2 * math.log(samples) + 1e-9))
        count = math.ceil(math.sqrt(2 * (25 + math.log(samples))) / spacing)
        r = (torch.arange(-count, count) + 0.5).double() * spacing  # not 0, where r / s loses its digits
        x = torch.linspace(-6, 120, 4000, dtype=torch.float64)
        x = torch.from_numpy(np.interp(r.numpy(), self._signed_root(x).numpy(), x.numpy()))
        for _ in range(8):
            s, value = self.scale * x.expm1(), self._signed_root(x)
            slope = s * self._derivatives(s)[1] / value * self.scale * x.exp()
            x = x - ((value - r) / slope).clamp(-0.5, 0.5)
        s = self.scale * x.expm1()
        return s, r / s * spacing

    def _signed_root(self, x: Tensor) -> Tensor:
        s = self.scale * x.expm1()
        t = s[:, None] * self.k / (1 + 2 * s[:, None] * self.k)
        rate = ((2 * s[:, None] * self.k).log1p() / 2 - t + 2 * t**2 * self.e**2).sum(1) + (s * self.noise) ** 2 / 2
        root: Tensor = torch.sign(s) * (2 * rate.clamp_min(1e-300)).sqrt()
        return root

    def probability(self, threshold: float) -> float:
        """P(q <= threshold), at the saddle found by bisection."""
        threshold -= self.rest
        if threshold <= 0:
            return 0.0
        low, high = torch.tensor([-40.0]).double(), torch.tensor([700.0]).double()
        for _ in range(80):
            middle = (low + high) / 2
            above = -self._derivatives(self.scale * middle.expm1())[0] > threshold
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        s = self.scale * low.expm1()
        node, step = self._contour(s)
        inverse = 1 / (1 + 2 * node[..., None] * self.k)
        below = float(((self._log(node, inverse) + node * threshold).exp() * step / node).real.sum())
        return min(max(below if float(s) >= 0 else 1 + below, 0.0), 1.0)


def _at(value: Batch, b: int) -> Batch:
    return type(value)(*(part[b] for part in value))


def _one(value: Batch, b: int) -> Batch:
    return type(value)(*(part[b : b + 1] for part in value))


def _form(matrix: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """left^T matrix right of ``[..., d]``."""
    return (left[..., None, :] @ matrix @ right[..., :, None])[..., 0, 0]
