"""Selection by a score that is quadratic in a Gaussian thought: best-of-N, and the law of an error.

Scores of verifiers and errors are quadratic in w, so that everything follows from joint laws of quadratic forms of a
Gaussian. All is float64; formulas that are not of a cited paper are derived here, and tested against quadrature or
simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..numerics import check
from ..tasks.quadratic import Quadratic
from .gaussian import GaussianLaw, error_of_mean


def gaussian_best_of_n(
    law: GaussianLaw, score: Quadratic, metrics: Sequence[Quadratic], budgets: Sequence[int], *, noise: float = 0.0
) -> Tensor:
    """Expected metrics of the candidate with the highest score -q(w) + noise N(0, 1) among k.

    E = int E[metric; q] k (1 - F(q))^{k-1} dq, where the density of q with the conditional metric, and the law F of
    q, come by inverting their transforms (Rice, SIAM J. Sci. Stat. Comput. 1, 1980), see :class:`_LawOfScore`; the
    matrices of score and metric need not commute. Accuracy: 1e-8 relative.

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
    check.number("noise", noise, low=0.0)
    ks = [check.integer("budgets", k, 1, 2**34) for k in budgets]
    result = torch.empty(len(metrics), len(law.mean), len(ks), dtype=torch.float64)
    for b in range(len(law.mean)):
        scores = _LawOfScore(law.mean[b], law.root[b], _form_of(score, b), noise)
        if not scores.varies:  # all candidates are as good: one decode
            one = GaussianLaw(law.mean[b : b + 1], law.root[b : b + 1])
            for i, metric in enumerate(metrics):
                form = Quadratic(*(field[b : b + 1] for field in metric))
                result[i, b] = error_of_mean(one, form, [1])[0, 0]
            continue
        weight, survival, densities = scores.on_grid(max(ks), [_form_of(metric, b) for metric in metrics])
        for j, k in enumerate(ks):
            result[:, b, j] = (densities * (weight * k * survival ** (k - 1))).sum(1)
    return result


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
    values = []
    for b in range(len(law.mean)):
        scores = _LawOfScore(law.mean[b], law.root[b], _form_of(metric, b), 0.0)
        certain = float(metric(law.mean)[b] <= threshold)
        values.append(scores.probability(threshold) if scores.varies else certain)
    return torch.tensor(values, dtype=torch.float64)


class _LawOfScore:
    """The law of q = sum_i k_i (z_i + e_i)^2 + constant + noise, z ~ N(0, I), and of metrics given q.

    The constant is left out below: it would cost small q - constant their digits. The Laplace transform is exp(s^2
    noise^2 / 2) prod_i D_i^{-1/2} exp(-s k_i e_i^2 / D_i), D_i = 1 + 2 s k_i. The inverse integral runs along a
    hyperbola through the saddle point, bent as steepest descent is there: no cancellation, so that even tiny tails
    keep their relative accuracy, and convergence for every d >= 1.

    Args:
        mean: of the thought w = mean + root z, ``[d]``.
        root: ``[d, d]``.
        score: q of one prompt.
        noise: standard deviation.
    """

    def __init__(self, mean: Tensor, root: Tensor, score: Quadratic, noise: float) -> None:
        self.mean, self.noise = mean, noise
        loading = score.matrix @ root
        k, axes = torch.linalg.eigh(root.mT @ loading)
        self.k = k.clamp_min(0)
        self.root = root @ axes
        active = self.k > 1e-14 * self.k.max()
        projected = axes.mT @ (loading.mT @ (mean - score.centre))
        self.e = torch.where(active, projected / self.k.where(active, torch.ones(1).double()), 0)
        self.k = self.k.where(active, 0.0)
        self.constant = float(score(mean) - (self.k * self.e**2).sum())
        self.varies = bool(active.any()) and float(self.k.max()) > 0
        self.scale = 1 / (2 * float(self.k.max())) if self.varies else 0.0

    def _log_transform(self, s: Tensor, inverse: Tensor) -> Tensor:
        """Logarithm of the transform of q - constant at complex ``s``; inverse = 1 / D, s k / D = (1 - 1 / D) / 2."""
        real, imaginary = inverse.real, inverse.imag
        log_modulus = (real**2 + imaginary**2).log().sum(-1) / 4  # in real numbers: much faster than complex logarithms
        phase = torch.atan2(imaginary, real).sum(-1) / 2
        e2 = self.e**2 / 2
        return torch.complex(log_modulus + real @ e2 - e2.sum(), phase + imaginary @ e2) + s**2 * self.noise**2 / 2

    def _derivatives(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First three derivatives of the logarithm at real ``s``."""
        r = 2 * self.k / (1 + 2 * s[:, None] * self.k)
        e2 = self.e**2 / (1 + 2 * s[:, None] * self.k)
        first = -(r * (1 + e2) / 2).sum(1) + s * self.noise**2
        second = (r**2 * (1 + 2 * e2) / 2).sum(1) + self.noise**2
        third = -(r**3 * (1 + 3 * e2)).sum(1)
        return first, second, third

    def _contour(self, s: Tensor, length: float = 5.0) -> tuple[Tensor, Tensor]:
        """Nodes and weights [Q, Y] of (1 / 2 pi i) int ds through real points near the saddles ``s``, upper half.

        Args:
            s: one saddle for each q, ``[Q]``.
            length: of the arms in v, where y = width sinh(v) is the imaginary part.
        """
        _, second, _ = self._derivatives(s)
        width = second.rsqrt()
        # The law F has a pole at 0: keep about a width away, on the side of the saddle.
        point = s / 2 + torch.where(s >= 0, 1.0, -1.0) * (s**2 / 4 + width**2).sqrt()
        point = torch.maximum(point, (s - self.scale) / 2)
        _, second, third = self._derivatives(point)
        width, curvature = second.rsqrt()[:, None], (-third / (6 * second))[:, None]
        # Where the slope is below 1, exp(s^2 noise^2 / 2) decays along the arms.
        slope, count = (0.5, 52) if self.noise else (1.0, 32)
        v = torch.linspace(0, length, count, dtype=torch.float64)
        y = width * v.sinh()
        root = (1 + (2 * curvature * y / slope**2) ** 2).sqrt()
        left = 2 * curvature * y**2 / (1 + root)  # (root - 1) slope^2 / (2 curvature), without cancellation
        left = left.where(curvature > 0, 0.0)
        speed = torch.complex(-2 * curvature * y / root, torch.ones_like(y)) * width * v.cosh() * (length / (count - 1))
        trapezoid = torch.where(torch.arange(count) == 0, 0.5, 1.0)
        return torch.complex(point[:, None] - left, y), speed * trapezoid / (math.pi * 1j)

    def on_grid(self, samples: int, metrics: Sequence[Quadratic]) -> tuple[Tensor, Tensor, Tensor]:
        """What the integral over q needs.

        Args:
            samples: the largest number of candidates.
            metrics: of one prompt.

        Returns:
            Weights of int dq ``[Q]``, P(above q) ``[Q]``, and each metric's density ``[metrics, Q]``.
        """
        s, weight = self._saddles(samples)
        node, step = self._contour(s)
        inverse = 1 / (1 + 2 * node[..., None] * self.k)
        transform = (self._log_transform(node, inverse) - node * self._derivatives(s)[0][:, None]).exp() * step
        below = (transform / node).real.sum(1)
        survival = torch.where(s >= 0, 1 - below, -below).clamp(0, 1)
        # Given the node, z has mean e (1 / D - 1) and variance 1 / D: moments of z times the density of q.
        shift = self.e * (inverse - 1)
        first = transform[..., None] * shift
        second = first.real.mT @ shift.real - first.imag.mT @ shift.imag
        second.diagonal(dim1=1, dim2=2).add_((transform[..., None] * inverse).real.sum(1))
        densities = [self._density(metric, transform.real.sum(1), first.real.sum(1), second) for metric in metrics]
        return weight, survival, torch.stack(densities)

    def _density(self, metric: Quadratic, zeroth: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """A metric's density [Q] from the moments of z."""
        loading = metric.matrix @ self.root
        h = loading.mT @ (self.mean - metric.centre)
        value: Tensor = metric(self.mean) * zeroth + 2 * first @ h + (second * (self.root.mT @ loading)).sum((1, 2))
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
        threshold -= self.constant
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
        below = float(((self._log_transform(node, inverse) + node * threshold).exp() * step / node).real.sum())
        return min(max(below if float(s) >= 0 else 1 + below, 0.0), 1.0)


def _form_of(form: Quadratic, b: int) -> Quadratic:
    """That of prompt ``b``, without the batch axis."""
    return Quadratic(*(field[b] for field in form))
