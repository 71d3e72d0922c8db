"""Random subsets of the candidates, for what has no closed form: partitions into groups that do not overlap."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..decoding.chain import TILE
from ..numerics import rng
from ..tasks.prompts import Prompts

SUBSETS = 8
"""The least number of subsets of k < N samples where there is no closed form, and the most repeats of a search."""


def groups(x: Tensor, size: int) -> Tensor:
    """``[b, N, ...]`` as floor(N / size) groups ``[b, G, size, ...]``; what is left over at the end is left out.

    Args:
        x: something of every sample.
        size: of a group.
    """
    whole: Tensor = x[:, : x.shape[1] // size * size].unflatten(1, (-1, size))
    return whole


@dataclass(frozen=True)
class Partitions:
    """How N samples are divided into groups, the same for all prompts.

    The first partition is of the samples as drawn, since they are independent. Further ones, where a budget makes
    fewer than :data:`SUBSETS` groups, are of blocks of samples in random order.
    """

    samples: int
    seed: int

    def block(self, size: int) -> int:
        """How many samples every partition into groups of ``size`` keeps together: N / 64, or the next power of two
        below, so far as it divides the groups."""
        block = 1 << max((self.samples // 64).bit_length() - 1, 0)
        return block if self.count(size) == 1 else min(block, size & -size)

    def count(self, size: int) -> int:
        """How often the samples are divided into groups of ``size``."""
        return 1 if size == self.samples else -(-SUBSETS // (self.samples // size))

    def group_counts(self, sizes: Sequence[int]) -> list[int]:
        """How many groups there are of each size, over all its partitions."""
        return [self.samples // size * self.count(size) for size in sizes]

    @functools.lru_cache(maxsize=8)  # noqa: B019  # of few objects, which are small: tensors to know again, once sent
    def by_block(self, sizes: tuple[int, ...]) -> list[tuple[list[int], int, Tensor, list[tuple[int, int]]]]:
        """As C++ takes them, the sizes with the same block together: their places among ``sizes``, the block, the
        orders of the blocks in the partitions after the first, and how many partitions each size has."""
        found = []
        for block in sorted({self.block(size) for size in sizes}):
            places = [i for i, size in enumerate(sizes) if self.block(size) == block]
            counts = [(sizes[i], self.count(sizes[i])) for i in places]
            shuffled = [_shuffled(self.samples // block, p, self.seed) for p in range(max(n for _, n in counts))]
            found.append((places, block, torch.stack(shuffled)[1:], counts))
        return found

    def order(self, partition: int, size: int) -> Tensor:
        """The samples in the order of a partition into groups.

        Args:
            partition: number of it.
            size: of the groups.
        """
        sample, block = torch.arange(self.samples), self.block(size)
        whole = sample[: self.samples // block * block].unflatten(0, (-1, block))
        shuffled = whole[_shuffled(self.samples // block, partition, self.seed)].flatten()
        return torch.cat((shuffled, sample[len(shuffled) :]))


@functools.lru_cache(maxsize=2 * SUBSETS)
def _shuffled(blocks: int, partition: int, seed: int) -> Tensor:
    """The blocks in random order; in partition 0 as they are."""
    index = torch.arange(blocks)
    if partition == 0:
        return index
    words = rng.philox(rng.counter(rng.Stream.SUBSETS, sample=index, block=partition), seed)
    return words[0].argsort(stable=True)


@dataclass(frozen=True)
class Coins:
    """Random words for ties; a group is named by its first sample, a step has its word as in the decode."""

    prompts: Prompts
    first: Tensor
    """First sample of every group ``[G]``."""
    step: int
    seed: int

    def __call__(self, tied: Tensor) -> Tensor:
        return torch.cat([self._toss(*index.unbind(1)) for index in tied.nonzero().split(TILE)])

    def _toss(self, prompt: Tensor, group: Tensor, coordinate: Tensor) -> Tensor:
        counter = rng.counter(
            rng.Stream.TIES,
            prompt=self.prompts.first + prompt,
            sample=self.first[group],
            coordinate=coordinate,
            block=self.step // rng.STEPS_PER_BLOCK,
        )
        return rng.philox(counter, self.seed)[self.step % rng.STEPS_PER_BLOCK]
