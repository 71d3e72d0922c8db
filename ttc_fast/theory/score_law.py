"""The law of a score that is quadratic in a Gaussian thought, and of errors given the score: transforms inverted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..tasks.quadratic import Quadratic

SHARE = 8
"""How many q share a contour, where they are near to each other."""

NEAR, DIRECTIONS = 0.77, 6.0
"""Least ratio of neighbours among the q that do, and of the sum of k to the largest, without noise: arms of a contour
decay with q and with the number of directions. Then the error stays below 1e-9, as measured."""


class OnGrid(NamedTuple):
    """Quantities at a grid of q, of each prompt."""

    probability: Tensor
    """Density of q times the weight of int dq ``[B, Q]``."""
    above: Tensor
    """P(above q) ``[B, Q]``."""
    mean: Tensor
    """Of metrics given q ``[metrics, B, Q]``."""
    variance: Tensor
    """Likewise."""


class LawOfScore:
    """The law of q = sum_i k_i (z_i + e_i)^2 + constant + noise, z ~ N(0, I), and of metrics given q, of B prompts.

    The constant is left out below: it would cost small q - constant their digits. The Laplace transform is exp(s^2
    noise^2 / 2) prod_i D_i^{-1/2} exp(-s k_i e_i^2 / D_i), D_i = 1 + 2 s k_i. The inverse integral runs along a
    hyperbola through the saddle point, bent as steepest descent is there: no cancellation, so that even tiny tails
    keep their relative accuracy, and convergence for every d >= 1. The transform does not depend on q: those near to
    each other share a contour, through the saddle of the middle one.

    Args:
        mean: of the thought w = mean + root z, ``[B, d]``.
        root: ``[B, d, d]``.
        score: q.
        noise: standard deviation.
    """

    def __init__(self, mean: Tensor, root: Tensor, score: Quadratic, noise: float) -> None:
        self.mean, self.noise = mean, noise
        loading = score.matrix @ root
        k, axes = torch.linalg.eigh(root.mT @ loading)
        k = k.clamp_min(0)
        self.root = root @ axes
        active = k > 1e-14 * k.amax(1, keepdim=True)
        projected = (axes.mT @ (loading.mT @ (mean - score.centre)[:, :, None]))[:, :, 0]
        self.e = torch.where(active, projected / k.where(active, 1.0), 0.0)
        self.k = k.where(active, 0.0)
        self.constant = score(mean) - (self.k * self.e**2).sum(1)
        self.varies = active.any(1)
        """Whether candidates differ in q ``[B]``; no other result tells anything of a prompt whose do not."""
        self.k[~self.varies] = 1.0  # any numbers
        self.scale = 1 / (2 * self.k.amax(1))

    def _shift(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Parts of 1 / D - 1 = -2 s k / D at complex ``s [B, S]``, to all their digits, as e may be large where k is
        small. In real numbers: much faster than complex ones, here and below."""
        a, b, k = s.real[:, :, None], s.imag[:, :, None], 2 * self.k[:, None]
        real, turn = 1 + a * k, b * k
        scale = -k / (real**2 + turn**2)
        return (a * real + b * turn) * scale, b * scale

    def _log_transform(self, s: Tensor, shift: Tensor, turn: Tensor) -> Tensor:
        """Logarithm of the transform of q - constant at complex ``s``, with the parts of 1 / D - 1."""
        inverse = 1 + shift
        log_modulus = (inverse**2 + turn**2).log().sum(-1) / 4
        phase = torch.atan2(turn, inverse).sum(-1) / 2
        e2 = self.e[:, :, None] ** 2 / 2
        exponent = torch.complex(log_modulus + (shift @ e2)[:, :, 0], phase + (turn @ e2)[:, :, 0])
        return exponent + s**2 * self.noise**2 / 2

    def _derivatives(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First three derivatives of the logarithm at real ``s [B, S]``."""
        k, inverse = 2 * self.k[:, None], 1 / (1 + 2 * s[:, :, None] * self.k[:, None])
        r, e2 = k * inverse, self.e[:, None] ** 2 * inverse
        first = -(r * (1 + e2)).sum(2) / 2 + s * self.noise**2
        second = (r**2 * (1 + 2 * e2)).sum(2) / 2 + self.noise**2
        third = -(r**3 * (1 + 3 * e2)).sum(2)
        return first, second, third

    def _contour(self, s: Tensor, length: float = 5.0) -> tuple[Tensor, Tensor]:
        """Nodes and weights [B, S, Y] of (1 / 2 pi i) int ds through real points near the saddles ``s``, upper half.

        Args:
            s: saddles ``[B, S]``.
            length: of the arms in v, where y = width sinh(v) is the imaginary part.
        """
        _, second, _ = self._derivatives(s)
        width = second.rsqrt()
        # The law F has a pole at 0: keep about a width away, on the side of the saddle.
        point = s / 2 + torch.where(s >= 0, 1.0, -1.0) * (s**2 / 4 + width**2).sqrt()
        point = torch.maximum(point, (s - self.scale[:, None]) / 2)
        _, second, third = self._derivatives(point)
        width, curvature = second.rsqrt()[:, :, None], (-third / (6 * second))[:, :, None]
        # Where the slope is below 1, exp(s^2 noise^2 / 2) decays along the arms.
        slope, count = (0.5, 52) if self.noise else (1.0, 32)
        v = torch.linspace(0, length, count, dtype=torch.float64)
        y = width * v.sinh()
        root = (1 + (2 * curvature * y / slope**2) ** 2).sqrt()
        left = 2 * curvature * y**2 / (1 + root)  # (root - 1) slope^2 / (2 curvature), without cancellation
        left = left.where(curvature > 0, 0.0)
        speed = torch.complex(-2 * curvature * y / root, torch.ones_like(y)) * width * v.cosh() * (length / (count - 1))
        trapezoid = torch.where(torch.arange(count) == 0, 0.5, 1.0)
        return torch.complex(point[:, :, None] - left, y), speed * trapezoid / (math.pi * 1j)

    def on_grid(self, samples: int, metrics: Sequence[Quadratic]) -> OnGrid:
        """What the integral over q needs.

        Given a node, z has mean e (1 / D - 1) and variance 1 / D. A metric's mean and variance there become those given
        q on the contour, the latter about the former.

        Args:
            samples: the largest number of candidates.
            metrics: what is asked.
        """
        s, weight = self._saddles(samples)
        q = -self._derivatives(s)[0]
        found = self._invert(s, q, self._sharing(q), metrics)
        below, density = found[0], found[1]
        means, variances = found[2 : 2 + len(metrics)], found[2 + len(metrics) :]
        survival = torch.where(s >= 0, 1 - below, -below).clamp(0, 1)
        return OnGrid(weight * density, survival, means, variances.clamp_min(0))

    def _sharing(self, q: Tensor) -> int:
        """How many q share a contour."""
        near = (q[:, 1:] / q[:, :-1]).amin() > NEAR
        many = (self.k.sum(1) > DIRECTIONS * self.k.amax(1)).all()
        return SHARE if not self.noise and bool(near & many) else 1

    def _invert(self, s: Tensor, q: Tensor, group: int, metrics: Sequence[Quadratic]) -> Tensor:
        """F(q), or F(q) - 1 where s < 0, density of q, and means and variances of metrics given q, ``[., B, Q]``."""
        prompts = len(q)
        q = q.reshape(prompts, -1, group)
        middle = s.reshape(q.shape)[:, :, (group - 1) // 2]
        node, step = self._contour(middle)
        shape, flat = node.shape, node.reshape(prompts, -1)
        shift, turn = self._shift(flat)
        exponent = self._log_transform(flat, shift, turn).reshape(shape)
        columns = [1 / node, torch.ones_like(node)]
        for metric in metrics:
            columns += [part.reshape(shape) for part in self._at_nodes(metric, shift, turn)]
        modulus = (exponent.real[:, :, None] + q[:, :, :, None] * node.real[:, :, None]).exp()
        angle = exponent.imag[:, :, None] + q[:, :, :, None] * node.imag[:, :, None]
        real, imaginary = modulus * angle.cos(), modulus * angle.sin()

        def integral(column: Tensor) -> Tensor:
            column = step * column
            both = real @ column.real[:, :, :, None] - imaginary @ column.imag[:, :, :, None]
            return both[:, :, :, 0]

        below, density = integral(columns[0]), integral(columns[1])
        scale = density.where(density != 0, torch.inf)  # far out all is 0
        means, variances = [], []
        for expected, variance in zip(columns[2::2], columns[3::2]):
            mean = integral(expected) / scale
            centre = mean[:, :, (group - 1) // 2, None]
            about = integral(variance + (expected - centre) ** 2) / scale
            means.append(mean)
            variances.append(about - (mean - centre) ** 2)
        return torch.stack([below, density, *means, *variances]).flatten(2)

    def _at_nodes(self, metric: Quadratic, shift: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
        """A metric's mean and variance at the nodes ``[B, S]``, from the parts of 1 / D - 1. With metric(w) = constant
        + 2 h z + z G z, m = e (1 / D - 1) and u = h + G m, they are constant + m (h + u) + tr(G D^-1) and 4 u D^-1 u +
        2 tr(G D^-1 G D^-1)."""
        loading = metric.matrix @ self.root
        h, G = loading.mT @ (self.mean - metric.centre)[:, :, None], self.root.mT @ loading
        m, n, inverse = shift * self.e[:, None], turn * self.e[:, None], 1 + shift
        u, v = torch.baddbmm(h.mT, m, G), n @ G
        linear = torch.cat((h * self.e[:, :, None], G.diagonal(dim1=1, dim2=2)[:, :, None]), 1)
        mean = torch.addcmul(m * u, n, v, value=-1).sum(2) + (torch.cat((shift, inverse), 2) @ linear)[:, :, 0]
        turned = 2 * (n * u).sum(2) + (turn @ linear[:, -len(G[0]) :])[:, :, 0]
        trace = 2 * G**2
        square = torch.baddbmm(torch.addcmul(u**2, v, v, value=-1), inverse, trace, beta=4)
        cross = torch.baddbmm(u * v, turn, trace, beta=8)
        variance = torch.addcmul(inverse * square, turn, cross, value=-1).sum(2)
        other = torch.addcmul(inverse * cross, turn, square).sum(2)
        return torch.complex(mean + metric(self.mean)[:, None], turned), torch.complex(variance, other)

    def _saddles(self, samples: int) -> tuple[Tensor, Tensor]:
        """Saddle points s and weights r / s dr of int K'' ds ``[B, Q]``, on an even grid of r = sign(s) sqrt(2 rate).

        The tails beyond q(s) = -K'(s) are at most exp(-rate), rate = -K(s) - s q(s); in r every density is about a
        normal one. Newton's method on r(x), s = scale (e^x - 1), from a table.
        """
        # The best of N lies near r = sqrt(2 ln N), within about 1 / r.
        spacing = min(0.12, 0.45 / math.sqrt(2 * math.log(samples) + 1e-9))
        rates = (25.0, 25.0 + math.log(samples))
        least, most = (math.ceil(math.sqrt(2 * rate) / spacing / SHARE) * SHARE for rate in rates)
        r = torch.arange(-least, most) + 0.5  # not 0, where r / s loses its digits
        r = (r.double() * spacing).repeat(len(self.k), 1)
        table = torch.linspace(-2.5, 5.5, 256, dtype=torch.float64).sinh()  # finer near 0
        known = self._signed_root(table.expand(len(self.k), -1))
        after = torch.searchsorted(known, r).clamp(1, len(table) - 1)
        low, high = known.gather(1, after - 1), known.gather(1, after)
        x = torch.lerp(table[after - 1], table[after], (r - low) / (high - low))
        for _ in range(6):
            s, value = self.scale[:, None] * x.expm1(), self._signed_root(x)
            slope = s * self._derivatives(s)[1] / value * self.scale[:, None] * x.exp()
            x = x - ((value - r) / slope).clamp(-0.5, 0.5)
        s = self.scale[:, None] * x.expm1()
        return s, r / s * spacing

    def _signed_root(self, x: Tensor) -> Tensor:
        s = self.scale[:, None] * x.expm1()
        t = 2 * s[:, :, None] * self.k[:, None]
        share = t / (2 * (1 + t))
        rate = (t.log1p() / 2 - share + 2 * share**2 * self.e[:, None] ** 2).sum(2) + (s * self.noise) ** 2 / 2
        root: Tensor = torch.sign(s) * (2 * rate.clamp_min(1e-300)).sqrt()
        return root

    def probability(self, threshold: float) -> Tensor:
        """P(q <= threshold) ``[B]``, at the saddle found by bisection."""
        q = (threshold - self.constant)[:, None]
        low, high = torch.full_like(q, -40.0), torch.full_like(q, 700.0)
        for _ in range(32):  # to 1e-6: any point near the saddle gives the same integral
            middle = (low + high) / 2
            above = -self._derivatives(self.scale[:, None] * middle.expm1())[0] > q
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        s = self.scale[:, None] * low.expm1()
        node, step = (part[:, 0] for part in self._contour(s))
        exponent = self._log_transform(node, *self._shift(node)) + node * q
        below = (exponent.exp() * step / node).real.sum(1)
        return torch.where(q[:, 0] > 0, torch.where(s[:, 0] >= 0, below, 1 + below).clamp(0, 1), 0.0)
