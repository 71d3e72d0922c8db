"""In-context learning of decision trees, after Garg et al. (arXiv 2208.01066): for predictors of y."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..numerics import check, rng
from .base import Task
from .linear_regression import LinearRegression, adopt, label_normals
from .prompts import Prompts


@dataclass(frozen=True)
class DecisionTree(Task):
    """The task: x_i ~ N(0, I), y_i the value of the leaf that x_i falls into: each inner node of a full binary tree
    looks at one coordinate, uniform, and goes right if it is positive; leaves are N(0, 1). Each prompt has its tree.

    w* is the best linear predictor, E y x, so that ``prediction_risk`` is by how much an answer w predicts worse than
    the best one; what no linear answer can predict is told by ``ttc-fast predict`` of a model that is trained for
    ``prediction``.

    Args:
        dim: d.
        examples: n, examples of a prompt.
        depth: inner nodes from the root to a leaf.
        label_noise: standard deviation of the labels' noise.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> DecisionTree(3, 5).sample(2).y.shape
    torch.Size([2, 5])
    """

    dim: int
    examples: int
    depth: int = 4
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        linear = LinearRegression(self.dim, self.examples, label_noise=self.label_noise)
        adopt(self, linear, "dim", "examples", "label_noise")
        object.__setattr__(self, "depth", check.integer("depth", self.depth, 1, 16))

    def sample(self, prompts: int, *, seed: int = 0, first_prompt: int = 0) -> Prompts:
        """``prompts`` prompts with the global indices from ``first_prompt`` on; features and noise are those of
        :class:`LinearRegression`, the tree comes from the stream of its coefficients.

        Args:
            prompts: B.
            seed: integer in [0, 2^64).
            first_prompt: global index of the first.
        """
        base = LinearRegression(self.dim, self.examples).sample(prompts, seed=seed, first_prompt=first_prompt)
        nodes, leaves = self._tree(base, int(seed))
        place = torch.zeros_like(base.y, dtype=torch.int64)  # of each example, from the root on
        for _ in range(self.depth):
            asked = base.x.gather(2, nodes.gather(1, place)[:, :, None])[:, :, 0]
            place = 2 * place + 1 + (asked > 0)
        y = leaves.gather(1, place - nodes.shape[1]) + self.label_noise * label_normals(base, int(seed))
        best = self._best(nodes, leaves)
        return Prompts(base.x, y.to(base.x), best.to(base.x), base.covariance, base.first)

    def _tree(self, base: Prompts, seed: int) -> tuple[Tensor, Tensor]:
        """Coordinates of the inner nodes ``[B, 2^depth - 1]``, level by level, and the leaves ``[B, 2^depth]`` in
        float64: node i takes coordinate i of the stream's sample 0, leaf i that of sample 1."""
        prompt, place = torch.arange(base.first, base.first + len(base))[:, None], torch.arange(2**self.depth)
        inner, outer = (
            rng.philox(rng.counter(rng.Stream.COEFFICIENTS, prompt=prompt, sample=i, coordinate=place), seed)
            for i in (0, 1)
        )
        return inner[0][:, :-1] * self.dim >> 32, rng.normals(outer, torch.float64)[0]

    def _best(self, nodes: Tensor, leaves: Tensor) -> Tensor:
        """E y x ``[B, d]``: a leaf bounds some coordinates to one sign, which has the mean +-sqrt(2 / pi) and the
        probability 1/2; with both signs of one coordinate nobody reaches it."""
        best = torch.zeros(len(nodes), self.dim, dtype=torch.float64)
        for leaf in range(2**self.depth):
            place = leaf + 2**self.depth - 1
            above = torch.zeros(2, len(nodes), self.dim, dtype=torch.bool)  # coordinates bounded to - and to +
            while place:
                right, place = place % 2 == 0, (place - 1) // 2
                above[int(right)] |= F.one_hot(nodes[:, place], self.dim).bool()
            bounded, possible = above.any(0), ~above.all(0).any(1)
            reached = possible * 0.5 ** bounded.sum(1).double()
            best += (leaves[:, leaf] * reached)[:, None] * (above[1].double() - above[0].double())
        return math.sqrt(2 / math.pi) * best
