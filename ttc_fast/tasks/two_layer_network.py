"""In-context learning of two-layer ReLU networks, after Garg et al. (arXiv 2208.01066): for predictors of y."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..numerics import check, rng, sums
from .base import Task
from .linear_regression import LinearRegression, adopt, label_normals
from .prompts import Prompts


@dataclass(frozen=True)
class TwoLayerNetwork(Task):
    """The task: x_i ~ N(0, I), y_i = sqrt(2 / h) sum_k a_k relu(<v_k, x_i>) + noise, with a_k and v_k standard normal,
    drawn for each prompt.

    w* is the best linear predictor, E y x = sqrt(1 / (2 h)) sum_k a_k v_k, so that ``prediction_risk`` is by how much
    an answer w predicts worse than the best one; what no linear answer can predict is told by ``ttc-fast predict`` of a
    model that is trained for ``prediction``.

    Args:
        dim: d.
        examples: n, examples of a prompt.
        hidden: h, units of the network.
        label_noise: standard deviation of the labels' noise.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> TwoLayerNetwork(3, 5).sample(2).y.shape
    torch.Size([2, 5])
    """

    dim: int
    examples: int
    hidden: int = 100
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        linear = LinearRegression(self.dim, self.examples, label_noise=self.label_noise)
        adopt(self, linear, "dim", "examples", "label_noise")
        object.__setattr__(self, "hidden", check.integer("hidden", self.hidden, 1, 2**24))

    def sample(self, prompts: int, *, seed: int = 0, first_prompt: int = 0) -> Prompts:
        """``prompts`` prompts with the global indices from ``first_prompt`` on; features and noise are those of
        :class:`LinearRegression`, the network comes from the stream of its coefficients.

        Args:
            prompts: B.
            seed: integer in [0, 2^64).
            first_prompt: global index of the first.
        """
        base = LinearRegression(self.dim, self.examples).sample(prompts, seed=seed, first_prompt=first_prompt)
        inner, outer = self._network(base, int(seed))
        units = sums.matmul(base.x.double(), inner.mT).relu_()  # [B, n, h]
        y = math.sqrt(2 / self.hidden) * sums.matmul(units, outer[:, :, None])[:, :, 0]
        best = math.sqrt(1 / (2 * self.hidden)) * sums.matmul(outer[:, None], inner)[:, 0]
        y = y + self.label_noise * label_normals(base, int(seed))
        return Prompts(base.x, y.to(base.x), best.to(base.x), base.covariance, base.first)

    def _network(self, base: Prompts, seed: int) -> tuple[Tensor, Tensor]:
        """v ``[B, h, d]`` and a ``[B, h]`` in float64: unit k takes sample k of the stream, a the coordinate d."""
        prompt = torch.arange(base.first, base.first + len(base))[:, None, None]
        unit, coordinate = torch.arange(self.hidden)[:, None], torch.arange(self.dim + 1)
        words = rng.philox(
            rng.counter(rng.Stream.COEFFICIENTS, prompt=prompt, sample=unit, coordinate=coordinate), seed
        )
        drawn = rng.normals(words, torch.float64)[0]
        return drawn[:, :, :-1], drawn[:, :, -1]
