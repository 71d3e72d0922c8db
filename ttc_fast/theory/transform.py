"""The Laplace transform of the law of a quadratic form of a Gaussian: its saddles, and contours through them.

Only operations element by element, and sums over directions of one order: no bit depends on the prompts beside, as it
would with products of matrices. ``S``, numbers of one prompt, is a multiple of 16: then all are computed by the same
instructions, where the last ones of an array may be by others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ARMS, SHARED_ARMS, NOISY_ARMS = (5.0, 32), (4.5, 36), (5.0, 52)
"""Length of the arms of a contour in v, where y = width sinh(v) is the imaginary part, and the number of nodes: for one
q, for those of a panel, and with noise."""


@dataclass(frozen=True)
class Transform:
    """That of q = sum_i k_i (z_i + e_i)^2 + noise, z ~ N(0, I), of B prompts.

    It is exp(s^2 noise^2 / 2) prod_i D_i^{-1/2} exp(-s k_i e_i^2 / D_i), D_i = 1 + 2 s k_i. Complex numbers are pairs
    of real ones: much faster.

    Args:
        k: ``[B, d, 1]``, at least 0, some above.
        e: ``[B, d, 1]``.
        noise: standard deviation.
    """

    k: Tensor
    e: Tensor
    noise: float

    def take(self, index: Tensor) -> Transform:
        """Of some of the prompts."""
        return Transform(self.k[index], self.e[index], self.noise)

    @property
    def scale(self) -> Tensor:
        """The transform exists to the right of minus this ``[B, 1]``."""
        return 1 / (2 * self.k.amax(1))

    def shift(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Parts of 1 / D - 1 = -2 s k / D, to all their digits, as e may be large where k is small: ``[B, d, S]``.

        Args:
            a: real part of s ``[B, S]``.
            b: imaginary part.
        """
        a, b, k = a[:, None], b[:, None], 2 * self.k
        real, turn = 1 + a * k, b * k
        scale = -k / (real**2 + turn**2)
        return (a * real + b * turn) * scale, b * scale

    def logarithm(self, a: Tensor, b: Tensor, shift: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
        """Of the transform: real and imaginary part ``[B, S]``.

        Args:
            a: real part of s ``[B, S]``.
            b: imaginary part.
            shift, turn: parts of 1 / D - 1 there, of :meth:`shift`.
        """
        inverse, e2 = 1 + shift, self.e**2 / 2
        real = (inverse**2 + turn**2).log().sum(1) / 4 + (shift * e2).sum(1)
        imaginary = torch.atan2(turn, inverse).sum(1) / 2 + (turn * e2).sum(1)
        if self.noise:
            real, imaginary = real + (a**2 - b**2) * (self.noise**2 / 2), imaginary + a * b * self.noise**2
        return real, imaginary

    def derivatives(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First three derivatives of the logarithm at real ``s [B, S]``."""
        k = 2 * self.k
        inverse = 1 / (1 + s[:, None] * k)
        r, e2 = k * inverse, self.e**2 * inverse
        first = -(r * (1 + e2)).sum(1) / 2 + s * self.noise**2
        second = (r**2 * (1 + 2 * e2)).sum(1) / 2 + self.noise**2
        third = -(r**3 * (1 + 3 * e2)).sum(1)
        return first, second, third

    def contour(self, s: Tensor, shared: bool) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Nodes and weights of (1 / 2 pi i) int ds through real points near the saddles ``s [B, C]``, upper half: real
        and imaginary parts ``[B, C, Y]``.

        A hyperbola, bent as steepest descent is at the saddle: no cancellation, so that even tiny tails keep their
        relative accuracy, and convergence for every d >= 1.

        Args:
            s: the saddles.
            shared: by the q of a panel.
        """
        width = self.derivatives(s)[1].rsqrt()
        # The law F has a pole at 0: keep about a width away, on the side of the saddle.
        point = s / 2 + torch.where(s >= 0, 1.0, -1.0) * (s**2 / 4 + width**2).sqrt()
        point = torch.maximum(point, (s - self.scale) / 2)
        _, second, third = self.derivatives(point)
        width, curvature = second.rsqrt()[:, :, None], (-third / (6 * second))[:, :, None]
        # Where the slope is below 1, exp(s^2 noise^2 / 2) decays along the arms.
        slope, (length, count) = (0.5, NOISY_ARMS) if self.noise else (1.0, SHARED_ARMS if shared else ARMS)
        v = torch.linspace(0, length, count, dtype=torch.float64)
        y = width * v.sinh()
        root = (1 + (2 * curvature * y / slope**2) ** 2).sqrt()
        left = 2 * curvature * y**2 / (1 + root)  # (root - 1) slope^2 / (2 curvature), without cancellation
        left = left.where(curvature > 0, 0.0)
        trapezoid = torch.full_like(v, length / (count - 1) / math.pi)
        trapezoid[0] /= 2
        speed = width * v.cosh() * trapezoid  # dy / pi, and ds = (i - 2 curvature y / root) dy
        return (point[:, :, None] - left, y), (speed, 2 * curvature * y / root * speed)

    def saddles(self, r: Tensor) -> Tensor:
        """Saddles s ``[B, Q]`` of q = -K'(s) with given r = sign(s) sqrt(2 rate), ``[Q]``.

        The tails beyond q(s) are at most exp(-rate), rate = -K(s) - s q(s); in r every density is about a normal one.
        Newton's method on r(x), s = scale (e^x - 1), from a table.
        """
        table = torch.linspace(-2.5, 5.5, 64, dtype=torch.float64).sinh()  # finer near 0
        known, _ = self._signed_root(table.expand(len(self.k), -1))
        r = r.expand(len(self.k), -1).contiguous()
        after = torch.searchsorted(known, r).clamp(1, len(table) - 1)
        low, high = known.gather(1, after - 1), known.gather(1, after)
        first = table[after - 1]
        x = first + (table[after] - first) * ((r - low) / (high - low))
        for _ in range(3):
            value, slope = self._signed_root(x)
            x = x - ((value - r) / slope).clamp(-0.5, 0.5)
        return self.scale * x.expm1()

    def _signed_root(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """r ``[B, Q]`` at s = scale (e^x - 1), and dr / dx = s K''(s) / r ds / dx."""
        scale, k = self.scale, 2 * self.k
        s = scale * x.expm1()
        t = s[:, None] * k
        inverse, e2 = 1 / (1 + t), self.e**2
        share = t * inverse / 2
        rate = (t.log1p() / 2 - share + 2 * share**2 * e2).sum(1) + (s * self.noise) ** 2 / 2
        second = ((k * inverse) ** 2 * (0.5 + e2 * inverse)).sum(1) + self.noise**2
        root = torch.sign(s) * (2 * rate.clamp_min(1e-300)).sqrt()
        return root, s * second / root * scale * x.exp()

    def saddle_of(self, q: Tensor) -> Tensor:
        """The saddles ``[B, 1]`` of given ``q [B, 1]``, by bisection."""
        low, high = torch.full_like(q, -40.0), torch.full_like(q, 700.0)
        for _ in range(32):  # to 1e-6: any point near the saddle gives the same integral
            middle = (low + high) / 2
            above = -self.derivatives(self.scale * middle.expm1())[0] > q
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return self.scale * low.expm1()
