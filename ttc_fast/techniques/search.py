"""Searches: techniques that act during the chain, step by step.

They resume chains, so that their noise is that of the random-number contract, named by prompt, sample and step: results
do not depend, to the bit, on what else is searched. Chains do not see the examples that the verifier holds out. The
work is counted: thoughts decoded and scores asked. Each is a function, and a class of its settings that makes a
technique of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from ..models.decoder import StochasticDecoder
from ..numerics import check, rng, sums
from ..numerics.protocols import described
from ..tasks.prompts import Prompts
from .base import Chains, SearchResult, Work
from .verifiers import INVERSE_TEMPERATURE, ScoreFunction, Verifier, as_verifier, check_scores

Resampling: TypeAlias = Literal["multinomial", "systematic", "residual"]


def particle_filter(
    decoder: StochasticDecoder,
    prompts: Prompts,
    *,
    steps: int,
    samples: int,
    beta: float,
    seed: int = 0,
    first_sample: int = 0,
    verifier: Verifier | ScoreFunction | None = None,
    every: int = 1,
    resampling: Resampling = "systematic",
    ess_threshold: float = 1.0,
    backend: str = "auto",
    state: Any = None,
) -> SearchResult:
    """Sequential Monte Carlo over chains of thought, with the potential exp(beta score) as process reward.

    Every ``every`` steps, and at the last, the weights are multiplied by the potential; where the effective
    sample size is below ``ess_threshold`` N, the particles are resampled. Source: Puri et al., arXiv
    2502.01618; the algorithm: Doucet and Johansen, "A tutorial on particle filtering and smoothing", 2009.

    Args:
        decoder: transformer and rule.
        prompts: the prompts.
        steps: length of the chain; 0 is w_0 itself.
        samples: N particles.
        beta: inverse temperature of the potential, in 1/score.
        seed: of the noise and of the resampling.
        first_sample: global index of the first particle, which names the noise of the chains, of the verifier and of
            the resampling: another one is an independent repeat.
        verifier: scores the thoughts; default :class:`InContextLoss`.
        every: steps between checks.
        resampling: ``"multinomial"``, ``"systematic"`` or ``"residual"``.
        ess_threshold: from 0 (never resample) to 1 (whenever the weights differ).
        backend: see :func:`ttc_fast.decode`.
        state: of ``decoder.model.prefill(verifier.context(prompts))``, where it is at hand.

    Returns:
        The weighted mean of the particles as the answer, the particles as its candidates, their weights, and the
        evidence.

    Raises:
        TypeError, ValueError: an argument is not as described, or the rule draws its bits at the last step only.
    """
    check.number("beta", beta, low=0.0)
    chains = _Resumable(decoder, prompts, seed, first_sample, verifier, backend, state)
    return _filter(chains, lambda score: beta * score, steps, samples, every, resampling, ess_threshold)


def rejection_search(
    decoder: StochasticDecoder,
    prompts: Prompts,
    *,
    steps: int,
    samples: int,
    threshold: float,
    seed: int = 0,
    first_sample: int = 0,
    verifier: Verifier | ScoreFunction | None = None,
    every: int = 1,
    backend: str = "auto",
    state: Any = None,
) -> SearchResult:
    """Every ``every`` steps, chains with a score below ``threshold`` are replaced by copies of the others.

    A particle filter whose potential is 1 or 0; where no chain passes, all go on. The evidence is the
    probability to pass all checks.

    Args:
        threshold: least score of a chain that goes on.
        decoder, prompts, steps, samples, seed, first_sample, verifier, every, backend, state: see
            :func:`particle_filter`.

    Returns:
        As :func:`particle_filter`.

    Raises:
        TypeError, ValueError: as :func:`particle_filter`.
    """
    check.number("threshold", threshold)

    def potential(score: Tensor) -> Tensor:
        passed = score >= threshold
        return torch.where(passed | ~passed.any(1, keepdim=True), 0.0, -math.inf)

    chains = _Resumable(decoder, prompts, seed, first_sample, verifier, backend, state)
    return _filter(chains, potential, steps, samples, every, "residual", 1.0)


def _filter(
    chains: _Resumable,
    potential: Callable[[Tensor], Tensor],
    steps: int,
    samples: int,
    every: int,
    resampling: Resampling,
    ess_threshold: float,
) -> SearchResult:
    check.choice("resampling", resampling, ("multinomial", "systematic", "residual"))
    check.number("ess_threshold", ess_threshold, 0.0, 1.0)
    w = chains.start(samples)
    log_weights = torch.full(w.shape[:2], -math.log(samples), dtype=torch.float64, device=w.device)
    evidence, sizes, before = torch.zeros(len(w), dtype=torch.float64, device=w.device), [], 0
    for step in _checks(steps, every):
        w = chains.advance(w, before, step)
        log_weights = log_weights + potential(chains.score(w, step).double())
        top = log_weights.amax(1)
        total = top + sums.tree_sum((log_weights - top[:, None]).exp(), 1).log()
        evidence = evidence + total
        log_weights = log_weights - total[:, None]
        size = 1 / sums.tree_sum(log_weights.exp().square(), 1)
        sizes.append(size)
        poor = size < ess_threshold * samples
        if step < steps and poor.any():
            first = chains.first_sample
            index = resample(log_weights.exp(), resampling, chains.prompts.first, step, chains.seed, first)
            w = torch.where(poor[:, None, None], w.gather(1, index[..., None].expand_as(w)), w)
            log_weights = torch.where(poor[:, None], -math.log(samples), log_weights)
        before = step
    return SearchResult(
        sums.tree_sum(log_weights.exp()[..., None].to(w) * w, 1),
        _work(w, steps * samples, len(sizes) * samples),
        candidates=w,
        log_weights=log_weights,
        log_evidence=evidence,
        effective_samples=torch.stack(sizes),
    )


def resample(
    weights: Tensor, resampling: Resampling, first_prompt: int, step: int, seed: int, first_sample: int = 0
) -> Tensor:
    """Indices ``[B, N]`` of N particles drawn in proportion to ``weights [B, N]``, which sum to 1.

    Particle i is kept N W_i times on average. The random words are named by prompt, sample and step. Source: Douc,
    Cappe, Moulines, "Comparison of resampling schemes for particle filtering", 2005.

    Args:
        weights: of the particles, summing to 1 for each prompt.
        resampling: the scheme.
        first_prompt, first_sample: global indices of the first.
        step: of the chain.
        seed: of the random words.
    """
    prompts, samples = weights.shape
    slot = torch.arange(samples, device=weights.device)
    prompt = torch.arange(first_prompt, first_prompt + prompts, device=weights.device)[:, None]
    sample = first_sample + slot
    words = rng.philox(rng.counter(rng.Stream.RESAMPLING, prompt=prompt, sample=sample, block=step), seed)
    uniform = (words[0].double() + 0.5) * 2.0**-32
    if resampling == "systematic":
        return _inverse(weights, (slot + uniform[:, :1]) / samples)
    if resampling == "multinomial":
        return _inverse(weights, uniform)
    kept = (samples * weights + 1e-9).floor()  # what is whole but for rounding is whole
    certain = kept.sum(1, keepdim=True)
    rest = (samples * weights - kept).clamp_min(0.0)
    drawn = _inverse(rest / sums.tree_sum(rest, 1)[:, None].clamp_min(1e-300), uniform)
    copies = torch.searchsorted(kept.cumsum(1), slot.expand(prompts, -1).to(kept), right=True)
    return torch.where(slot < certain, copies.clamp_max(samples - 1), drawn)


def _inverse(weights: Tensor, uniform: Tensor) -> Tensor:
    """Quantiles of the law ``weights`` at ``uniform``, both ``[B, N]``."""
    index = torch.searchsorted(weights.cumsum(1), uniform.contiguous(), right=True)
    last = weights.shape[1] - 1 - (weights > 0).flip(1).to(torch.uint8).argmax(1, keepdim=True)
    return torch.minimum(index, last)  # rounding may leave the sum below the last uniform


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
        decoder, prompts, steps, seed, first_sample, verifier, every, backend, state: see :func:`particle_filter`.

    Returns:
        The best thought at the end as the answer, and its score.

    Raises:
        TypeError, ValueError: as :func:`particle_filter`.
    """
    check.integer("beams", beams, 1, 2**32)
    check.integer("expansions", expansions, 1, 2**32 // beams)
    chains = _Resumable(decoder, prompts, seed, first_sample, verifier, backend, state)
    w, before, checks = chains.start(beams * expansions), 0, _checks(steps, every)
    for step in checks:
        w = chains.advance(w, before, step)
        score = chains.score(w, step)
        if step < steps:
            best = torch.sort(score, stable=True, dim=1, descending=True).indices[:, :beams]
            index = best.repeat_interleave(expansions, dim=1)
            w = w.gather(1, index[..., None].expand_as(w))
        before = step
    answer, top = _best(w, score)
    return SearchResult(answer, _work(w, steps * w.shape[1], len(checks) * w.shape[1]), candidates=w, score=top)


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
            :func:`particle_filter`.

    Returns:
        The best thought of all rounds as the answer, and its score.

    Raises:
        TypeError, ValueError: as :func:`particle_filter`.
    """
    chains = _Resumable(decoder, prompts, seed, first_sample, verifier, backend, state)
    best, before, checks = chains.start(samples)[:, 0], 0, _checks(steps, every)
    score = chains.score(best[:, None], 0)
    for step in checks:
        w = chains.advance(best[:, None].expand(-1, samples, -1).contiguous(), before, step)
        found = torch.cat((score, chains.score(w, step)), 1)
        best, top = _best(torch.cat((best[:, None], w), 1), found)
        score, before = top[:, None], step
    return SearchResult(best, _work(best, steps * samples, len(checks) * samples + 1), score=score[:, 0])


def _checks(steps: int, every: int) -> list[int]:
    """Multiples of ``every`` below ``steps``, and ``steps``."""
    check.integer("steps", steps, 0, 2**34)
    check.integer("every", every, 1, 2**34)
    return [*range(every, steps, every), steps]


class _Resumable:
    """Chains that go on from any thoughts, and what the verifier says of these."""

    def __init__(
        self,
        decoder: StochasticDecoder,
        prompts: Prompts,
        seed: int,
        first_sample: int,
        verifier: Verifier | ScoreFunction | None,
        backend: str,
        state: Any,
    ) -> None:
        if not decoder.rule.resumable:
            raise ValueError(
                f"rule: expected one whose answers are its thoughts, as with sample_at='every_step', got "
                f"{described(decoder.rule)}: the answer drawn from a thought does not tell how its chain goes on"
            )
        self.decoder, self.prompts, self.seed, self.first_sample = decoder, prompts, seed, first_sample
        self.verifier, self.backend = as_verifier(verifier), backend
        self.state = decoder.model.prefill(self.verifier.context(prompts)) if state is None else state

    def start(self, samples: int) -> Tensor:
        """w_0 = 0 for every sample ``[B, N, d]``."""
        check.integer("samples", samples, 1, 2**32)
        return self.decoder.start(self.prompts)[:, None].repeat(1, samples, 1)

    def advance(self, w: Tensor, before: int, step: int) -> Tensor:
        """The chains ``w [B, N, d]`` of step ``before`` continued to ``step``; one that overflowed stays NaN."""
        lost = None
        if not all(math.isfinite(extreme.item()) for extreme in w.aminmax()):  # one pass, where a mask takes four
            lost = ~w.isfinite().all(2, keepdim=True)
            w = w.masked_fill(lost, 0.0)
        thoughts = self.decoder.decode(
            self.state, w, steps=[step], samples=w.shape[1], seed=self.seed,
            first_sample=self.first_sample, first_prompt=self.prompts.first, first_step=before, backend=self.backend,
        ).thoughts[0]  # fmt: skip
        return thoughts if lost is None else thoughts.masked_fill(lost, math.nan)

    def score(self, w: Tensor, step: int) -> Tensor:
        """``[B, N]``."""
        score = self.verifier.score(self.prompts, w, first_sample=self.first_sample, step=step)
        check_scores(score, w)
        return score


def _best(w: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """The candidate with the highest score ``[B, d]``, and its score ``[B]``."""
    top, index = score.max(1)
    return w.gather(1, index[:, None, None].expand(-1, 1, w.shape[2]))[:, 0], top


def _work(like: Tensor, thoughts: int, scores: int) -> Work:
    """The same for every prompt of ``like [B, ...]``."""
    return Work(torch.full((len(like),), thoughts), torch.full((len(like),), scores))


@dataclass(frozen=True)
class ParticleFilter:
    """:func:`particle_filter` with k particles."""

    beta: float = INVERSE_TEMPERATURE
    every: int = 1

    def __call__(self, chains: Chains) -> SearchResult:
        return particle_filter(samples=chains.samples, beta=self.beta, every=self.every, **chains.arguments())


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
