"""Searches that keep the best thoughts during the chain. Each is a function, and a class of its settings that makes a
technique of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..models.decoder import StochasticDecoder
from ..numerics import check
from ..tasks.prompts import Prompts
from .base import Chains, SearchResult, Work
from .groups import Part
from .resumable import Resumable, equal_work, of_one_group, steps_of_checks
from .verifiers import ScoreFunction, Verifier


def beam_search(
    decoder: StochasticDecoder,
    prompts: Prompts,
    *,
    steps: int,
    beams: int,
    expansions: int,
    seed: int = 0,
    first_sample: int = 0,
    verifier: Verifier | ScoreFunction | None = None,
    every: int = 1,
    backend: str = "auto",
    state: Any = None,
) -> SearchResult:
    """Every ``every`` steps the ``beams`` best thoughts go on, each in ``expansions`` continuations.

    Source: Snell et al., arXiv 2408.03314.

    Args:
        beams: thoughts kept, at least 1.
        expansions: continuations of each; N = beams * expansions chains run at a time.
        decoder, prompts, steps, seed, first_sample, verifier, every, backend, state: see
            :func:`ttc_fast.particle_filter`.

    Returns:
        The best thought at the end as the answer, and its score.

    Raises:
        TypeError, ValueError: as :func:`ttc_fast.particle_filter`.
    """
    beams = check.integer("beams", beams, 1, 2**32)
    expansions = check.integer("expansions", expansions, 1, 2**32 // beams)
    chains = Resumable(decoder, prompts, seed, first_sample, verifier, backend, state)
    return of_one_group(_beams(chains, [Part(beams * expansions)], [expansions], steps, every))


def _beams(chains: Resumable, parts: Sequence[Part], expansions: Sequence[int], steps: int, every: int) -> SearchResult:
    """A beam search for every group of chains: all of its results ``[B, G, ...]``.

    Args:
        chains, steps, every: see :func:`beam_search`.
        parts: the groups.
        expansions: of every part, whose sizes are multiples of them.
    """
    (groups, w), before, checks = chains.start(parts), 0, steps_of_checks(steps, every)
    copies = groups.table([n for part, n in zip(groups.parts, expansions) for _ in range(part.repeats)])
    # Of every chain the rank of the one that it goes on from.
    rank = torch.arange(groups.samples.shape[1], device=w.device) // copies
    for step in checks:
        w = chains.advance(w, before, step)
        score = groups.rows(chains.score(w, step), -math.inf)
        if step < steps:
            order = torch.sort(score, stable=True, dim=2, descending=True).indices
            w = groups.taken(w, order.gather(2, rank.expand_as(order)))
        before = step
    top, index = score.max(2)
    spent = [[steps * k for k in groups.sizes], [len(checks) * k for k in groups.sizes]]
    return SearchResult(groups.one_of_each(w, index), equal_work(len(w), *spent), candidates=w, score=top)


def self_refinement(
    decoder: StochasticDecoder,
    prompts: Prompts,
    *,
    steps: int,
    samples: int,
    seed: int = 0,
    first_sample: int = 0,
    verifier: Verifier | ScoreFunction | None = None,
    every: int = 1,
    backend: str = "auto",
    state: Any = None,
) -> SearchResult:
    """Every ``every`` steps all ``samples`` chains go on from the best answer so far, which stays one of the
    candidates: a round of refinement.

    Source: the idea, Madaan et al., arXiv 2303.17651.

    Args:
        decoder, prompts, steps, samples, seed, first_sample, verifier, every, backend, state: see
            :func:`ttc_fast.particle_filter`.

    Returns:
        The best thought of all rounds as the answer, and its score.

    Raises:
        TypeError, ValueError: as :func:`ttc_fast.particle_filter`.
    """
    chains = Resumable(decoder, prompts, seed, first_sample, verifier, backend, state)
    return of_one_group(_refined(chains, [Part(samples)], steps, every))


def _refined(chains: Resumable, parts: Sequence[Part], steps: int, every: int) -> SearchResult:
    """A self-refinement for every group of chains: all of its results ``[B, G, ...]``.

    Args:
        chains, steps, every: see :func:`self_refinement`.
        parts: the groups.
    """
    (groups, w), before, checks = chains.start(parts), 0, steps_of_checks(steps, every)
    best, top = w.index_select(1, groups.starts[:, 0]), chains.score_of_first(w, 0)
    for step in checks:
        w = chains.advance(w, before, step)
        top, index = torch.cat((top[..., None], groups.rows(chains.score(w, step), -math.inf)), 2).max(2)
        found = groups.one_of_each(w, (index - 1).clamp_min(0))
        best = torch.where((index == 0)[..., None], best, found)
        w, before = groups.spread(best), step
    spent = [[steps * k for k in groups.sizes], [len(checks) * k + 1 for k in groups.sizes]]
    return SearchResult(best, equal_work(len(w), *spent), score=top)


@dataclass(frozen=True)
class BeamSearch:
    """:func:`beam_search` with k // ``expansions`` beams; with fewer than ``expansions`` chains, one beam of k."""

    expansions: int = 4
    every: int = 1

    def __post_init__(self) -> None:
        check.integer("expansions", self.expansions, 1, 2**32)

    def __call__(self, chains: Chains) -> SearchResult:
        expansions = min(self.expansions, chains.samples)
        beams = chains.samples // expansions
        return beam_search(beams=beams, expansions=expansions, every=self.every, **chains.arguments())

    def together(self, chains: Chains, parts: Sequence[Part]) -> tuple[Tensor, Work]:
        """See :class:`Together`."""
        whole: list[Part] = []
        for size, repeats, first in parts:
            kept = size - size % min(self.expansions, size)
            if kept == size:
                whole.append(Part(size, repeats, first))
            else:  # the samples between two groups are nobody's
                whole += [Part(kept, 1, first + r * size) for r in range(repeats)]
        expansions = [min(self.expansions, part.size) for part in whole]
        found = _beams(Resumable.of(chains), whole, expansions, chains.steps[-1], self.every)
        return found.answer, found.work


@dataclass(frozen=True)
class SelfRefinement:
    """:func:`self_refinement` in rounds of ``every`` thoughts, k chains each."""

    every: int = 1

    def __call__(self, chains: Chains) -> SearchResult:
        return self_refinement(samples=chains.samples, every=self.every, **chains.arguments())

    def together(self, chains: Chains, parts: Sequence[Part]) -> tuple[Tensor, Work]:
        """See :class:`Together`."""
        found = _refined(Resumable.of(chains), parts, chains.steps[-1], self.every)
        return found.answer, found.work
