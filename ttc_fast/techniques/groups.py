"""Groups of chains side by side: repeats of a search, with one number of chains or several, advance together.

The chains of all groups are the columns ``[B, M, ...]`` of one tensor; what is asked of each group sees them as rows
``[B, G, K]``, K the size of the largest group. Where all have one size these are views of each other.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics.wide import home
from ..tasks.engine import tree_sum


class Part(NamedTuple):
    """Groups of one size, whose samples follow each other."""

    size: int
    repeats: int = 1
    first: int = 0
    """Sample of the first chain, counted from that of the search."""


@dataclass(frozen=True)
class Groups:
    """G groups of chains: those of all parts, one after the other. Tables are made, and sent to the device, once."""

    parts: tuple[Part, ...]
    device: torch.device

    @property
    def sizes(self) -> list[int]:
        """Chains of every group."""
        return [part.size for part in self.parts for _ in range(part.repeats)]

    @property
    def slices(self) -> list[slice]:
        """Columns of every part."""
        ends = list(accumulate(part.size * part.repeats for part in self.parts))
        return list(map(slice, [0, *ends], ends))

    @functools.cached_property
    def starts(self) -> Tensor:
        """Column of the first chain of every group, int64 ``[G, 1]``."""
        return self.table([0, *accumulate(self.sizes[:-1])])

    @functools.cached_property
    def samples(self) -> Tensor:
        """Sample of every chain, counted from that of the search: int64 ``[G, K]``."""
        every = [s for part in self.parts for s in range(part.first, part.first + part.size * part.repeats)]
        return self.rows(torch.tensor(every)[None].to(self.device, non_blocking=True))[0]

    @functools.cached_property
    def absent(self) -> Tensor | None:
        """Which places of the rows no chain has, bool ``[G, K]``; None: all are taken. They repeat the group's first
        chain."""
        return None if self._one_size else torch.arange(max(self.sizes), device=self.device) >= self.table(self.sizes)

    @functools.cached_property
    def _one_size(self) -> bool:
        return len(set(self.sizes)) == 1

    @functools.cached_property
    def _column(self) -> Tensor:
        """Of every place of the rows ``[G K]``."""
        place = torch.arange(max(self.sizes), device=self.device).expand(len(self.sizes), -1)
        return (place if self.absent is None else place.masked_fill(self.absent, 0)).add(self.starts).flatten()

    @functools.cached_property
    def _place(self) -> Tensor:
        """Of every column among those of the rows ``[M]``."""
        widest = max(self.sizes)
        every = [g * widest + i for g, size in enumerate(self.sizes) for i in range(size)]
        return torch.tensor(every).to(self.device, non_blocking=True)

    def table(self, of_groups: Sequence[float]) -> Tensor:
        """A number for every group ``[G, 1]``: int64, or float64 where that is at home."""
        floats = isinstance(of_groups[0], float)
        made = torch.tensor(of_groups, dtype=torch.float64 if floats else torch.int64)[:, None]
        return made.to(home(self.device) if floats else self.device, non_blocking=True)

    def rows(self, x: Tensor, fill: float | None = None) -> Tensor:
        """Numbers of the chains ``[B, M]`` group by group ``[B, G, K]``.

        Args:
            x: the numbers.
            fill: what stands where no chain is; default the number of the group's first chain.
        """
        if self._one_size:
            found: Tensor = x.unflatten(1, (len(self.sizes), -1))
            return found
        found = x.index_select(1, self._column).unflatten(1, (len(self.sizes), -1))
        return found if fill is None or self.absent is None else found.masked_fill(self.absent, fill)

    def columns(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`rows`."""
        return x.flatten(1) if self._one_size else x.flatten(1).index_select(1, self._place)

    def spread(self, x: Tensor) -> Tensor:
        """What a group has ``[B, G, d]`` for each of its chains ``[B, M, d]``."""
        if self._one_size:
            return torch.repeat_interleave(x, self.sizes[0], 1)
        return x.index_select(1, self._place // max(self.sizes))

    def taken(self, w: Tensor, index: Tensor) -> Tensor:
        """Thoughts of members of the groups, as columns again: ``[B, M, d]``.

        Args:
            w: the thoughts of all chains ``[B, M, d]``.
            index: of the members within their groups ``[B, G, K]``.
        """
        return _gather(w, self.columns(index + self.starts))

    def one_of_each(self, w: Tensor, index: Tensor) -> Tensor:
        """The thoughts of one member of every group ``[B, G, d]``.

        Args:
            w: the thoughts of all chains ``[B, M, d]``.
            index: of the member within its group ``[B, G]``.
        """
        return _gather(w, index + self.starts[:, 0])

    def sum(self, x: Tensor) -> Tensor:
        """Sums over the chains ``[B, M, d]`` of every group, in the order of :func:`~ttc_fast.sums.tree_sum`."""
        return torch.cat([sums_of_groups(x[:, own], part) for part, own in zip(self.parts, self.slices)], 1)


def of_part(x: Tensor, part: Part) -> Tensor:
    """What a part has of all samples ``[B, N, ...]``.

    Args:
        x: of every sample.
        part: of them.
    """
    return x[:, part.first : part.first + part.size * part.repeats]


def sums_of_groups(x: Tensor, part: Part) -> Tensor:
    """Sums over the chains ``[B, n, d]`` of every group of a part, ``[B, repeats, d]``.

    Args:
        x: of the chains of the part.
        part: how they are divided.
    """
    members = x.unflatten(1, (part.repeats, part.size)).flatten(0, 1)
    return tree_sum(members).view(len(x), part.repeats, -1)


def _gather(w: Tensor, columns: Tensor) -> Tensor:
    """Rows of every prompt, copied whole: on the CPU several times as fast as ``Tensor.gather``."""
    first = torch.arange(0, len(w) * w.shape[1], w.shape[1], device=w.device)
    return torch.nn.functional.embedding(columns + first[:, None], w.flatten(0, 1))


@functools.lru_cache(maxsize=32)
def groups_of(parts: tuple[Part, ...], device: torch.device) -> Groups:
    """:class:`Groups`, whose tables are kept.

    Args:
        parts, device: of the groups.
    """
    return Groups(parts, device)
