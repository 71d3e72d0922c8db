"""Searches that keep the best thoughts during the chain. Each is a function, and a class of its settings that makes a
technique of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..models.decoder import StochasticDecoder
from ..numerics import check
from ..tasks.prompts import Prompts
from .base import Chains, SearchResult
from .resumable import Resumable, equal_work, steps_of_checks
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
    w, before, checks = chains.start(beams * expansions), 0, steps_of_checks(steps, every)
    for step in checks:
        w = chains.advance(w, before, step)
        score = chains.score(w, step)
        if step < steps:
            best = torch.sort(score, stable=True, dim=1, descending=True).indices[:, :beams]
            index = best.repeat_interleave(expansions, dim=1)
            w = w.gather(1, index[..., None].expand_as(w))
        before = step
    answer, top = _best(w, score)
    return SearchResult(answer, equal_work(w, steps * w.shape[1], len(checks) * w.shape[1]), candidates=w, score=top)


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
    best, before, checks = chains.start(samples)[:, 0], 0, steps_of_checks(steps, every)
    score = chains.score(best[:, None], 0)
    for step in checks:
        w = chains.advance(best[:, None].expand(-1, samples, -1).contiguous(), before, step)
        found = torch.cat((score, chains.score(w, step)), 1)
        best, top = _best(torch.cat((best[:, None], w), 1), found)
        score, before = top[:, None], step
    return SearchResult(best, equal_work(best, steps * samples, len(checks) * samples + 1), score=score[:, 0])


def _best(w: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """The candidate with the highest score ``[B, d]``, and its score ``[B]``."""
    top, index = score.max(1)
    return w.gather(1, index[:, None, None].expand(-1, 1, w.shape[2]))[:, 0], top


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


@dataclass(frozen=True)
class SelfRefinement:
    """:func:`self_refinement` in rounds of ``every`` thoughts, k chains each."""

    every: int = 1

    def __call__(self, chains: Chains) -> SearchResult:
        return self_refinement(samples=chains.samples, every=self.every, **chains.arguments())
