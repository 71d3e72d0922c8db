"""The law of a score that is quadratic in a Gaussian thought, and of errors given the score: transforms inverted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..numerics import sums
from ..tasks.quadratic import Quadratic
from .transform import Transform

NODES, WIDTH = 16, 3.5
"""Nodes of a panel, and its width in units of the scale on which integrands vary: their error is below 1e-9."""

RATE = 25.0
"""Tails beyond exp(-RATE) are left out."""

NEAR, DIRECTIONS = 0.15, 3.0
"""Least ratio of the q of a panel that share a contour, and of the sum of k to the largest, without noise: arms of a
contour decay with q and with the number of directions. Then the error stays below 1e-9, as measured."""

CHUNK = 64
"""Directions of prompts at a time: their nodes stay in a core's cache."""


@lru_cache(maxsize=64)
def panels(samples: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights ``[Q]`` of an integral over r, the signed root of :meth:`~.transform.Transform.saddles`: Gauss
    and Legendre's, in panels.

    The best of k lies near r = sqrt(2 ln k), within about 1 / r.

    Args:
        samples: the largest k.
    """
    best = math.sqrt(2 * math.log(samples))
    low, high = -math.sqrt(2 * RATE), math.sqrt(2 * (RATE + math.log(samples)))
    edges = [low]
    while edges[-1] < high:  # WIDTH / r wide at the right end r, from 1 to the best's
        at_end = (math.sqrt(edges[-1] ** 2 + 4 * WIDTH) - edges[-1]) / 2
        edges.append(edges[-1] + min(WIDTH, max(at_end, WIDTH / max(best - 0.5, 1.0))))
    edge = low + (np.array(edges) - low) * ((high - low) / (edges[-1] - low))
    node, weight = np.polynomial.legendre.leggauss(NODES)
    middle, half = (edge[1:, None] + edge[:-1, None]) / 2, np.diff(edge)[:, None] / 2
    return torch.from_numpy((middle + half * node).ravel()), torch.from_numpy((half * weight).ravel())


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


class _Form(NamedTuple):
    """A metric in the axes of the score: at + 2 h z + z G z, for each prompt."""

    at: Tensor
    """``[B, 1]``."""
    h: Tensor
    """``[B, d, 1]``."""
    G: Tensor
    """``[B, d, d]``."""


class LawOfScore:
    """The law of q = sum_i k_i (z_i + e_i)^2 + constant + noise, z ~ N(0, I), and of metrics given q, of B prompts.

    The constant is left out below: it would cost small q - constant their digits. The transform of the law
    (:class:`~.transform.Transform`) is inverted along a contour through a saddle. It does not depend on q: those of a
    panel share a contour, through the saddle of the middle one, where they are near to each other.

    Args:
        mean: of the thought w = mean + root z, ``[B, d]``.
        root: ``[B, d, d]``.
        score: q.
        noise: standard deviation.
    """

    def __init__(self, mean: Tensor, root: Tensor, score: Quadratic, noise: float) -> None:
        self.mean, self.score = mean, score
        loading = sums.matmul(score.matrix, root)
        k, axes = sums.eigh(sums.matmul(root.mT, loading))
        k = k.clamp_min(0)
        self.root = sums.matmul(root, axes)
        active = k > 1e-14 * k.amax(1, keepdim=True)
        along = sums.matmul(axes.mT, sums.matmul(loading.mT, (mean - score.centre)[:, :, None]))[:, :, 0]
        e = torch.where(active, along / k.where(active, 1.0), 0.0)
        k = k.where(active, 0.0)
        self.constant = score(mean) - sums.tree_sum(k * e**2, 1)
        self.varies = active.any(1)
        """Whether candidates differ in q ``[B]``; no other result tells anything of a prompt whose do not."""
        k[~self.varies] = 1.0  # any numbers
        self.transform = Transform(k[:, :, None], e[:, :, None], noise)

    def on_grid(self, samples: int, metrics: Sequence[Quadratic]) -> OnGrid:
        """What the integral over q needs.

        Args:
            samples: the largest number of candidates.
            metrics: what is asked.
        """
        r, dr = panels(samples)
        forms = [self._form(metric) for metric in metrics]
        weight = r.new_empty(len(self.mean), len(r))
        found = r.new_empty(2 + 2 * len(metrics), *weight.shape)
        for chunk in torch.arange(len(weight)).split(1 + CHUNK // self.mean.shape[1]):
            part = self.transform.take(chunk)
            s = part.saddles(r)
            q = -part.derivatives(s)[0]
            weight[chunk] = r / s * dr
            shared = self._shared(part, q)
            for count in shared.unique().tolist():
                some = torch.nonzero(shared == count)[:, 0]
                index = chunk[some]
                own = [_Form(*(field[index] for field in form)) for form in forms]
                pieces = [(slice(0, count), NODES)] if count else []
                pieces += [(slice(first, first + NODES), 1) for first in range(count, len(r), NODES)]
                for columns, group in pieces:
                    found[:, index, columns] = _invert(part.take(some), s[some, columns], q[some, columns], group, own)
        above, means, variances = found[0], found[2 : 2 + len(metrics)], found[2 + len(metrics) :]
        above = torch.where(above > 0, 1 - above, -above).clamp(0, 1)
        return OnGrid(weight * found[1], above, means, variances.clamp_min(0))

    def _shared(self, part: Transform, q: Tensor) -> Tensor:
        """How many of the q, from the largest on, are in panels with a contour for all ``[B]``."""
        if part.noise:
            return torch.zeros(len(q), dtype=torch.int64)
        near = q[:, NODES - 1 :: NODES] > NEAR * q[:, ::NODES]
        many = part.k.sum(1) > DIRECTIONS * part.k.amax(1)
        return NODES * (near & many).long().cumprod(1).sum(1)

    def _form(self, metric: Quadratic) -> _Form:
        loading = sums.matmul(metric.matrix, self.root)
        h = sums.matmul(loading.mT, (self.mean - metric.centre)[:, :, None])
        return _Form(metric(self.mean)[:, None], h, sums.matmul(self.root.mT, loading))

    def probability(self, threshold: float) -> Tensor:
        """P(q <= threshold) ``[B]``."""
        q = (threshold - self.constant)[:, None]
        s = self.transform.saddle_of(q)
        below = _invert(self.transform, s, q, 1, [])[0]
        return torch.where(q > 0, torch.where(s >= 0, below, 1 + below).clamp(0, 1), 0.0)[:, 0]


def _invert(law: Transform, s: Tensor, q: Tensor, group: int, forms: Sequence[_Form]) -> Tensor:
    """F(q), or F(q) - 1 where the contour passes 0 on the left, density of q, and means and variances of metrics given
    q, ``[., B, Q]``.

    Args:
        law: of q.
        s: saddles ``[B, Q]``.
        q: ``[B, Q]``.
        group: how many q share a contour, through the saddle of the middle one.
        forms: the metrics.
    """
    shape = (len(q), -1, group)
    q, middle = q.reshape(shape), s.reshape(shape)[:, :, (group - 1) // 2]
    (a, b), (speed, turned) = law.contour(middle, group > 1)
    flat = a.flatten(1), b.flatten(1)
    shift, turn = law.shift(*flat)
    log_modulus, phase = (part.reshape(a.shape)[:, :, None] for part in law.logarithm(*flat, shift, turn))
    modulus = (log_modulus + q[..., None] * a[:, :, None]).exp()
    angle = phase + q[..., None] * b[:, :, None]
    real, imaginary = modulus * angle.cos(), modulus * angle.sin()  # [B, C, group, Y]

    def integral(x: Tensor, y: Tensor) -> Tensor:
        x, y = speed * x - turned * y, speed * y + turned * x
        return (real * x[:, :, None] - imaginary * y[:, :, None]).sum(3)

    size = a**2 + b**2
    density = integral(torch.ones_like(a), torch.zeros_like(a))
    found = [integral(a / size, -b / size), density]
    scale = density.where(density != 0, torch.inf)  # far out all is 0
    means, variances = [], []
    for form in forms:
        x, y, u, v = (part.reshape(a.shape) for part in _at_nodes(form, law.e, shift, turn))
        mean = integral(x, y) / scale
        centre = mean[:, :, (group - 1) // 2, None]
        x = x - centre
        about = integral(u + x**2 - y**2, v + 2 * x * y) / scale
        means.append(mean)
        variances.append(about - (mean - centre) ** 2)
    return torch.stack([*found, *means, *variances]).flatten(2)


def _at_nodes(form: _Form, e: Tensor, shift: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A metric's mean and variance at the nodes, real and imaginary parts ``[B, S]``, from the parts of 1 / D - 1.

    Given a node, z has mean m = e (1 / D - 1) and variance 1 / D: they are at + m (h + u) + tr(G D^-1), u = h + G m,
    and 4 u D^-1 u + 2 tr(G D^-1 G D^-1). Their integrals are those given q, the variance about the mean.
    """
    h, G = form.h, form.G
    m, n, inverse = shift * e, turn * e, 1 + shift
    u, v = h + sums.products_alone(G, m), sums.products_alone(G, n)
    diagonal, squares = G.diagonal(dim1=1, dim2=2)[:, :, None], 2 * G**2
    mean = (m * (h + u) - n * v + diagonal * inverse).sum(1) + form.at
    turned = (m * v + n * (h + u) + diagonal * turn).sum(1)
    x, y = 4 * (u**2 - v**2) + sums.products_alone(squares, inverse), 8 * (u * v) + sums.products_alone(squares, turn)
    return mean, turned, (inverse * x - turn * y).sum(1), (inverse * y + turn * x).sum(1)
