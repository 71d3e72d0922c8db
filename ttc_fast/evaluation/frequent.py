"""The most frequent whole answers of many groups of binary candidates, by sorting: all groups of all sizes at once, for
a GPU, where launches cost more than work. On the CPU C++ counts them group by group (``csrc/answers.cpp``)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics import rng, sums
from ..tasks.engine import tree_sum
from ..tasks.prompts import Prompts
from ..techniques.base import Ties
from ..techniques.identities import identities, mixed
from .subsets import Partitions

ROOM = 2**24
"""Members of groups that are sorted at a time: 128 MB for each number of theirs."""


class _Members(NamedTuple):
    """The members of G groups, one group after the other."""

    sample: Tensor
    """Of every member ``[L]``."""
    group: Tensor
    """Of every member ``[L]``."""
    first: Tensor
    """Sample of the first member of every group ``[G]``, which names it."""


@functools.lru_cache(maxsize=4)
def _members(partitions: Partitions, sizes: tuple[int, ...], device: torch.device) -> _Members:
    """Those of all partitions for every size, sent once."""
    samples = [
        partitions.order(p, size)[: partitions.samples // size * size].unflatten(0, (-1, size))
        for size in sizes
        for p in range(partitions.count(size))
    ]
    lengths = torch.cat([part.new_full((len(part),), part.shape[1]) for part in samples])
    group = torch.arange(len(lengths)).repeat_interleave(lengths)
    made = torch.cat([part.flatten() for part in samples]), group, torch.cat([part[:, 0] for part in samples])
    return _Members(*(part.to(device, non_blocking=True) for part in made))


def means(
    w: Tensor,
    values: Tensor,
    partitions: Partitions,
    sizes: Sequence[int],
    *,
    ties: Ties,
    prompts: Prompts,
    steps: Sequence[int],
    seed: int,
) -> Tensor:
    """Numbers of the most frequent answers, their means over the groups of every size: ``[K, M, b]``.

    Args:
        w: binary candidates ``[b, N, d]``: those of all prompts at the first step, then at the next.
        values: of every candidate ``[M, b, N]``; those of equal answers are equal.
        partitions: of the samples.
        sizes: of the groups.
        ties: see :class:`ttc_fast.Technique`.
        prompts: they belong to.
        steps: of the chains.
        seed: of the draws.
    """
    members, found = _members(partitions, tuple(sizes), w.device), []
    row = torch.arange(len(w), device=w.device)[:, None]
    step = torch.tensor(steps).to(w.device, non_blocking=True)[row // len(prompts)]
    for rows in sums.tiles(len(w), ROOM // len(members.sample)):
        coin = None
        if ties == "drawn":
            named = rng.counter(
                rng.Stream.TIES, prompt=prompts.first + row[rows] % len(prompts), sample=members.first,
                block=step[rows] // rng.STEPS_PER_BLOCK,
            )  # fmt: skip
            words = torch.stack([word.expand(-1, len(members.first)) for word in rng.philox(named, seed)])
            coin = words.gather(0, (step[rows] % rng.STEPS_PER_BLOCK).expand_as(words[:1]))[0]
        identity = identities(w[rows], ordered=ties == "smallest")
        chosen = _of_rows(identity, members, coin)
        found.append(values[:, rows].gather(2, chosen.expand(len(values), -1, -1)))
    of_sizes = torch.cat(found, 1).flatten(0, 1).split(partitions.group_counts(sizes), 1)
    return torch.stack([tree_sum(part) / part.shape[1] for part in of_sizes]).view(-1, *values.shape[:2])


def _of_rows(identity: Tensor, members: _Members, coin: Tensor | None) -> Tensor:
    """A sample with the most frequent answer of every group ``[b, G]``: with the answers' identities ``[b, N]`` and the
    groups' coins ``[b, G]``, without which it is the smallest of equally frequent ones."""
    samples, group = identity.shape[1], members.group.expand(len(identity), -1)
    ordered, order = identity.sort(dim=1, stable=True)
    rank = _runs(ordered)  # of every answer among the different ones
    of_sample = torch.empty_like(rank).scatter_(1, order, rank)
    every = torch.arange(samples, device=rank.device).expand_as(rank)
    example = order.gather(1, torch.searchsorted(rank, every.contiguous()).clamp_max_(samples - 1))  # of every rank
    # By group, which leaves every group where it is, then by answer.
    ranks = (group * samples + of_sample[:, members.sample]).sort(dim=1).values - group * samples
    run = _runs(group * samples + ranks)
    count = torch.zeros_like(run).scatter_add_(1, run, torch.ones_like(run)).gather(1, run)
    tied = count == _most(count, group, members).gather(1, group)
    preferred = -ranks
    if coin is not None:
        preferred = mixed(identity.gather(1, example).gather(1, ranks) ^ coin.gather(1, group))
    preferred = preferred.masked_fill(~tied, torch.iinfo(torch.int64).min)
    chosen = tied & (preferred == _most(preferred, group, members).gather(1, group))
    winner = _most(ranks.masked_fill(~chosen, -1), group, members)
    return example.gather(1, winner)


def _runs(ordered: Tensor) -> Tensor:
    """The number of the run of equal numbers that each of ``ordered [b, n]`` belongs to."""
    return torch.nn.functional.pad((ordered[:, 1:] != ordered[:, :-1]).cumsum(1), (1, 0))


def _most(x: Tensor, group: Tensor, members: _Members) -> Tensor:
    """The largest number of every group's members ``[b, L]``: ``[b, G]``."""
    least = torch.full((len(x), len(members.first)), torch.iinfo(x.dtype).min, dtype=x.dtype, device=x.device)
    return least.scatter_reduce_(1, group, x, "amax")
