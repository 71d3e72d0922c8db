"""In-context logistic regression: labels in {-1, 1}, and the direction that separates them as the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from ..numerics import check, rng, sums
from .base import Task
from .linear_regression import LinearRegression, label_words
from .metrics import Metric, truth
from .prompts import Prompts, check_prompts


@dataclass(frozen=True)
class LogisticRegression(Task):
    """The task: x_i ~ N(0, I), y_i in {-1, 1}, P(y_i = 1) = 1 / (1 + exp(-sharpness <w, x_i>)), |w| = 1.

    Thoughts are judged by their direction alone: ``direction_error`` 1 - cos of the angle to w*, ``error_rate`` of the
    signs of <w, x> for new x, angle / pi, and ``margin`` min_i y_i <w, x_i> / |w|.

    Args:
        dim: d, coefficients.
        examples: n, examples of a prompt.
        sharpness: of the labels; None: without noise, y_i = sign <w, x_i>, as for ever larger ones.
        target: w* is the direction that the labels are made of, or that of the largest margin on the prompt's own
            examples, where descent on exponential and logistic loss ends (Soudry et al., JMLR 19, 2018); it needs
            labels without noise.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> prompts = LogisticRegression(3, 12).sample(2)
    >>> prompts.y.abs().unique().tolist(), prompts.w_star.norm(dim=1).round(decimals=5).tolist()
    ([1.0], [1.0, 1.0])
    """

    dim: int
    examples: int
    sharpness: float | None = None
    target: Literal["direction", "max_margin"] = "direction"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", check.integer("dim", self.dim, 1, 2**24 - 1))
        object.__setattr__(self, "examples", check.integer("examples", self.examples, 1, 2**34 - 1))
        check.choice("target", self.target, ("direction", "max_margin"))
        if self.sharpness is not None:
            object.__setattr__(self, "sharpness", check.number("sharpness", self.sharpness, 0.0))
            if self.target == "max_margin":
                raise ValueError(
                    f"target: expected 'direction' with sharpness={self.sharpness}, got 'max_margin': labels with "
                    "noise need not be separable; leave one of them out"
                )

    def sample(self, prompts: int, *, seed: int = 0, first_prompt: int = 0) -> Prompts:
        """``prompts`` prompts with the global indices from ``first_prompt`` on, features and directions those of
        :class:`LinearRegression`.

        Args:
            prompts: B.
            seed: integer in [0, 2^64).
            first_prompt: global index of the first.
        """
        base = LinearRegression(self.dim, self.examples).sample(prompts, seed=seed, first_prompt=first_prompt)
        x, w = base.x.double(), truth(base)[:, 0].double()
        w = w / sums.tree_sum(w.square(), 1).sqrt()[:, None]
        scores = sums.matmul(x, w[:, :, None])[:, :, 0]
        y = torch.where(scores >= 0, 1.0, -1.0).double()
        if self.sharpness is not None:
            uniform = rng.uniform(label_words(base, int(seed)), torch.float64)
            y = torch.where(uniform < torch.sigmoid(self.sharpness * scores), 1.0, -1.0)
        if self.target == "max_margin":
            w = max_margin(x, y)
        return Prompts(base.x, y.float(), w.float(), base.covariance, base.first)

    def in_context_loss(self, prompts: Prompts, w: Tensor) -> Tensor:
        """Logistic loss of answers on their own prompts, mean over i of log(1 + exp(-y_i <w, x_i>)): ``[B, A]``.

        Args:
            prompts: B of them.
            w: answers ``[B, A, d]``.
        """
        check_prompts(prompts)
        return sums.tree_mean(torch.nn.functional.softplus(-_margins(prompts, w)), 2)

    def metrics(self) -> Mapping[str, Metric]:
        """Those of directions."""
        return OF_SIGNS


def _margins(prompts: Prompts, w: Tensor) -> Tensor:
    """y_i <w, x_i> ``[B, A, n]``."""
    return sums.matmul(w, prompts.x.mT) * prompts.y[:, None]


def _norm(w: Tensor) -> Tensor:
    return sums.tree_sum(w.square(), w.ndim - 1).sqrt()


def _cosine(prompts: Prompts, w: Tensor) -> Tensor:
    """Of the angle to w*, ``[B, A]``; that of zero, which has no direction, is 0."""
    aim = truth(prompts)
    product = sums.tree_sum(w * aim, 2)
    return (product / (_norm(w) * _norm(aim)).clamp_min(torch.finfo(w.dtype).tiny)).clamp(-1, 1)


def direction_error(prompts: Prompts, w: Tensor) -> Tensor:
    """1 - cos of the angle between an answer and w*: ``[B, A]``.

    Args:
        prompts: B of them, with w*.
        w: answers ``[B, A, d]``.
    """
    return 1 - _cosine(prompts, w)


def error_rate(prompts: Prompts, w: Tensor) -> Tensor:
    """Probability that <w, x> has another sign than <w*, x> for x ~ N(0, I), angle / pi: ``[B, A]``.

    Args:
        prompts: B of them, with w*.
        w: answers ``[B, A, d]``.
    """
    return torch.acos(_cosine(prompts, w)) / torch.pi


def margin(prompts: Prompts, w: Tensor) -> Tensor:
    """min_i y_i <w, x_i> / |w|, higher is better, 0 for w = 0: ``[B, A]``.

    Args:
        prompts: B of them.
        w: answers ``[B, A, d]``.
    """
    return _margins(prompts, w).amin(2) / _norm(w).clamp_min(torch.finfo(w.dtype).tiny)


OF_SIGNS: Mapping[str, Metric] = {"direction_error": direction_error, "error_rate": error_rate, "margin": margin}
"""Metrics of directions, by name."""


def max_margin(x: Tensor, y: Tensor) -> Tensor:
    """The unit vectors with the largest min_i y_i <w, x_i>, ``[B, d]`` in float64.

    Least distance programming (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23): min |w| with
    y_i <w, x_i> >= 1 by nonnegative least squares.

    Args:
        x: features ``[B, n, d]``.
        y: labels ``[B, n]`` in {-1, 1}.

    Raises:
        ValueError: some examples cannot be separated by a plane through zero.

    >>> import torch
    >>> max_margin(torch.tensor([[[2.0, 0.0], [0.0, 2.0]]]), torch.ones(1, 2)).round(decimals=4).tolist()
    [[0.7071, 0.7071]]
    """
    check.tensor("x", x, ("B", "n", "d"))
    check.tensor("y", y, x.shape[:2])
    found = []
    for b, rows in enumerate((y[:, :, None] * x).double().numpy()):
        system = np.vstack([rows.T, np.ones(len(rows))])
        aim = np.append(np.zeros(rows.shape[1]), 1.0)
        residual = system @ nnls(system, aim)[0] - aim
        if np.linalg.norm(residual) < 1e-9:
            raise ValueError(f"y: expected examples that a plane through zero separates, got others in prompt {b}")
        w = -residual[:-1] / residual[-1]
        found.append(w / np.linalg.norm(w))
    return torch.from_numpy(np.stack(found))
