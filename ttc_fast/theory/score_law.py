"""The law of a score that is quadratic in a Gaussian thought, and of errors given the score: transforms inverted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..tasks.quadratic import Quadratic


class OnGrid(NamedTuple):
    """Quantities at a grid of q."""

    probability: Tensor
    """Density of q times the weight of int dq ``[Q]``."""
    above: Tensor
    """P(above q) ``[Q]``."""
    mean: Tensor
    """Of metrics given q ``[metrics, Q]``."""
    variance: Tensor
    """Likewise."""


class LawOfScore:
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

    def _shift(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Parts of 1 / D - 1 = -2 s k / D at complex ``s``, to all their digits, as e may be large where k is small. In
        real numbers: much faster than complex ones, here and below."""
        a, b, k = s.real[..., None], s.imag[..., None], 2 * self.k
        scale = -k / ((1 + a * k) ** 2 + (b * k) ** 2)
        return (a + k * (a**2 + b**2)) * scale, b * scale

    def _log_transform(self, s: Tensor, shift: Tensor, turn: Tensor) -> Tensor:
        """Logarithm of the transform of q - constant at complex ``s``, with the parts of 1 / D - 1."""
        log_modulus = ((1 + shift) ** 2 + turn**2).log().sum(-1) / 4
        phase = torch.atan2(turn, 1 + shift).sum(-1) / 2
        e2 = self.e**2 / 2
        return torch.complex(log_modulus + shift @ e2, phase + turn @ e2) + s**2 * self.noise**2 / 2

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

    def on_grid(self, samples: int, metrics: Sequence[Quadratic]) -> OnGrid:
        """What the integral over q needs.

        Given a node, z has mean e (1 / D - 1) and variance 1 / D. A metric's mean and variance there become those given
        q on the contour, the latter about the former.

        Args:
            samples: the largest number of candidates.
            metrics: of one prompt.
        """
        s, weight = self._saddles(samples)
        node, step = self._contour(s)
        parts = self._shift(node)
        exponent = self._log_transform(node, *parts) - node * self._derivatives(s)[0][:, None]
        transform = exponent.exp() * step
        below = (transform / node).real.sum(1)
        survival = torch.where(s >= 0, 1 - below, -below).clamp(0, 1)
        density = transform.real.sum(1)
        scale = density.where(density != 0, torch.inf)  # far out all is 0
        means, variances = [], []
        for metric in metrics:
            expected, variance = self._at_nodes(metric, *parts)
            means.append((transform * expected).real.sum(1) / scale)
            squared = (expected - means[-1][:, None]) ** 2
            variances.append((transform * (variance + squared)).real.sum(1) / scale)
        return OnGrid(weight * density, survival, torch.stack(means), torch.stack(variances).clamp_min(0))

    def _at_nodes(self, metric: Quadratic, shift: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
        """A metric's mean and variance at the nodes ``[Q, Y]``, from the parts of 1 / D - 1. With metric(w) = constant
        + 2 h z + z G z, m = e (1 / D - 1) and u = h + G m, the latter is 4 u D^-1 u + 2 tr(G D^-1 G D^-1)."""
        loading = metric.matrix @ self.root
        h, G = loading.mT @ (self.mean - metric.centre), self.root.mT @ loading
        m, n = shift * self.e, turn * self.e
        real, imaginary, inverse = m @ G, n @ G, 1 + shift
        # m (2 h + G m) + tr(G D^-1)
        linear, trace = 2 * h + real, G.diagonal()
        mean = (m * linear - n * imaginary).sum(2) + inverse @ trace + metric(self.mean)
        turned = (m * imaginary + n * linear).sum(2) + turn @ trace
        real += h
        square, cross = 4 * (real**2 - imaginary**2) + 2 * (inverse @ G**2), 8 * real * imaginary + 2 * (turn @ G**2)
        variance = (inverse * square - turn * cross).sum(2)
        return torch.complex(mean, turned), torch.complex(variance, (inverse * cross + turn * square).sum(2))

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
        exponent = self._log_transform(node, *self._shift(node)) + node * threshold
        below = float((exponent.exp() * step / node).real.sum())
        return min(max(below if float(s) >= 0 else 1 + below, 0.0), 1.0)
