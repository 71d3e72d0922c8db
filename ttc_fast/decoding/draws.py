"""The random numbers of a step of the chain, drawn when a rule asks for them."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ..numerics import check, rng


class Draws:
    """The random numbers of step ``step``: of every prompt, sample and coefficient, ``[b, n, d]``.

    They are a pure function of seed, prompt, sample, coefficient and step (design of the random numbers: ``rng.py``),
    so that asking for them again, or for others before, changes nothing.
    """

    def __init__(self, step: int, block: Block) -> None:
        self.step = step
        """Number of the step, from 0."""
        self._block = block

    def normal(self, stream: rng.Stream = rng.Stream.NOISE) -> Tensor:
        """Standard normals."""
        stream = _checked(stream)
        return self._block.normals(stream)[self.step % rng.STEPS_PER_BLOCK]

    def uniform(self, stream: rng.Stream = rng.Stream.BERNOULLI) -> Tensor:
        """Uniform in [0, 1)."""
        stream = _checked(stream)
        return rng.uniform(self._block.words(stream)[self.step % rng.STEPS_PER_BLOCK], self._block.dtype)

    def exponential(self, stream: rng.Stream = rng.Stream.SUBSET_SAMPLING) -> Tensor:
        """Exponentials with mean 1."""
        stream = _checked(stream)
        return rng.exponential(self._block.words(stream)[self.step % rng.STEPS_PER_BLOCK], self._block.dtype)


def _checked(stream: object) -> rng.Stream:
    return rng.Stream(check.integer("stream", stream, 0, max(rng.Stream)))


class Block:
    """The words of four consecutive steps, made once.

    Args:
        number: of the block, step div 4.
        prompt: global indices ``[b]``.
        sample: global indices ``[n]``.
        dim: d.
        dtype: of the floats.
        seed: integer in [0, 2^64).
    """

    def __init__(self, number: int, *, prompt: Tensor, sample: Tensor, dim: int, dtype: torch.dtype, seed: int) -> None:
        self.number, self.dtype = number, dtype
        coordinate = torch.arange(dim, device=prompt.device)[:, None]

        # In memory the samples are last, as vector instructions like it; seen as [b, n, d].
        @cache
        def words(stream: rng.Stream) -> rng.Words:
            counter = rng.counter(
                stream, prompt=prompt[:, None, None], sample=sample, coordinate=coordinate, block=number
            )
            a, b, c, d = (word.mT for word in rng.philox(counter, seed))
            return a, b, c, d

        @cache
        def normals(stream: rng.Stream) -> rng.Words:
            return rng.normals(words(stream), dtype)

        self.words, self.normals = words, normals
