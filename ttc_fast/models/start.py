"""Where a chain of thought begins: a function from prompts to w_0, zero by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ..numerics import check, rng
from ..tasks.prompts import Prompts

Start: TypeAlias = Callable[[Prompts], Tensor]
"""From B prompts to their first thoughts ``[B, d]``."""


@dataclass(frozen=True)
class RandomStart:
    """w_0 ~ N(0, scale^2 I), another one for each prompt, from a stream of its own: what arXiv 2606.03217 begins with.

    All samples of a prompt begin with the same thought.

    Args:
        seed: integer in [0, 2^64).
        scale: standard deviation.

    >>> import ttc_fast as tf
    >>> RandomStart(seed=1)(tf.LinearRegression(2, 4).sample(3)).shape
    torch.Size([3, 2])
    """

    seed: int = 0
    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", check.integer("seed", self.seed, 0, 2**64 - 1))
        object.__setattr__(self, "scale", check.scale("scale", self.scale))

    def __call__(self, prompts: Prompts) -> Tensor:
        """Made on the CPU in float64 and rounded once, so that every device gets the same thoughts."""
        prompt = torch.arange(prompts.first, prompts.first + len(prompts))[:, None]
        coordinate = torch.arange(prompts.x.shape[2])
        words = rng.philox(rng.counter(rng.Stream.START, prompt=prompt, coordinate=coordinate), self.seed)
        return (self.scale * rng.normals(words, torch.float64)[0]).to(prompts.x)
