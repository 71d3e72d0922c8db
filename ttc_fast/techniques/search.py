"""Inference techniques that act during the chain: step-level search, refinement, and when to stop.

Those that search resume chains with :func:`ttc_fast.decode`, so that their noise is that of the contract, named by
prompt, sample and step: their results do not depend, to the bit, on what else is searched. Chains do not see the
examples that the verifier holds out. The work is counted: thoughts decoded and scores asked. The classes at the end
make techniques of them, as :func:`ttc_fast.evaluate.evaluate` applies them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betainc, betaln
from torch import Tensor

from ..decoding.decode import decode
from ..decoding.rules import BernoulliSampling
from ..models.decoder import StochasticDecoder
from ..numerics import check, rng, sums
from ..tasks.prompts import Prompts
from .verifiers import INVERSE_TEMPERATURE, InContextLoss, Verifier, context

Resampling: TypeAlias = Literal["multinomial", "systematic", "residual"]


class Work(NamedTuple):
    """What a technique spent on each prompt."""

    thoughts: float
    scores: float

    def multiplications(self, prompts: Prompts, verifier: Verifier) -> float:
        """Both on one axis: d^2 for a thought, and what the verifier says for a score."""
        return self.thoughts * prompts.x.shape[2] ** 2 + self.scores * verifier.work(prompts)


class Particles(NamedTuple):
    """What :func:`particle_filter` returns."""

    thoughts: Tensor
    """``[B, N, d]``."""
    log_weights: Tensor
    """Logarithms of weights that sum to 1, float64 ``[B, N]``."""
    log_evidence: Tensor
    """Estimate of ln E prod_t exp(beta score(w_t)), float64 ``[B]``; its exponential is unbiased."""
    effective_samples: Tensor
    """1 / sum of squared weights at every check before resampling, float64 ``[checks, B]``."""
    work: Work

    def mean(self) -> Tensor:
        """The weighted mean of the particles ``[B, d]``."""
        return sums.tree_sum(self.log_weights.exp()[..., None].to(self.thoughts) * self.thoughts, 1)


def particle_filter(
    decoder: StochasticDecoder,
    prompts: Prompts,
    *,
    steps: int,
    samples: int,
    beta: float,
    seed: int = 0,
    first_sample: int = 0,
    verifier: Verifier | None = None,
    every: int = 1,
    resampling: Resampling = "systematic",
    ess_threshold: float = 1.0,
    backend: str = "auto",
) -> Particles:
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
    """
    check.number("beta", beta, low=0.0)
    chains = _Resumable(decoder, prompts, seed, first_sample, verifier, backend)
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
    verifier: Verifier | None = None,
    every: int = 1,
    backend: str = "auto",
) -> Particles:
    """Every ``every`` steps, chains with a score below ``threshold`` are replaced by copies of the others.

    A particle filter whose potential is 1 or 0; where no chain passes, all go on. The evidence is the
    probability to pass all checks. Arguments: see :func:`particle_filter`.
    """
    check.number("threshold", threshold)

    def potential(score: Tensor) -> Tensor:
        passed = score >= threshold
        return torch.where(passed | ~passed.any(1, keepdim=True), 0.0, -math.inf)

    chains = _Resumable(decoder, prompts, seed, first_sample, verifier, backend)
    return _filter(chains, potential, steps, samples, every, "residual", 1.0)


def _filter(
    chains: _Resumable,
    potential: Callable[[Tensor], Tensor],
    steps: int,
    samples: int,
    every: int,
    resampling: Resampling,
    ess_threshold: float,
) -> Particles:
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
    work = Work(steps * samples, len(sizes) * samples)
    return Particles(w, log_weights, evidence, torch.stack(sizes), work)


def resample(
    weights: Tensor, resampling: Resampling, first_prompt: int, step: int, seed: int, first_sample: int = 0
) -> Tensor:
    """Indices ``[B, N]`` of N particles drawn in proportion to ``weights [B, N]``, which sum to 1.

    Particle i is kept N W_i times on average. The random words are named by prompt, sample and step. Source: Douc,
    Cappe, Moulines, "Comparison of resampling schemes for particle filtering", 2005.
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


class Beams(NamedTuple):
    """What :func:`beam_search` and :func:`self_refinement` return."""

    answer: Tensor
    """The best thought found ``[B, d]``."""
    score: Tensor
    """Its score ``[B]``."""
    work: Work


def beam_search(
    decoder: StochasticDecoder,
    prompts: Prompts,
    *,
    steps: int,
    beams: int,
    expansions: int,
    seed: int = 0,
    first_sample: int = 0,
    verifier: Verifier | None = None,
    every: int = 1,
    backend: str = "auto",
) -> Beams:
    """Every ``every`` steps the ``beams`` best thoughts go on, each in ``expansions`` continuations.

    Source: Snell et al., arXiv 2408.03314.

    Args:
        beams: thoughts kept, at least 1.
        expansions: continuations of each; N = beams * expansions chains run at a time.
        decoder, prompts, steps, seed, first_sample, verifier, every, backend: see :func:`particle_filter`.
    """
    check.integer("beams", beams, 1, 2**32)
    check.integer("expansions", expansions, 1, 2**32 // beams)
    chains = _Resumable(decoder, prompts, seed, first_sample, verifier, backend)
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
    return Beams(answer, top, Work(steps * w.shape[1], len(checks) * w.shape[1]))


def self_refinement(
    decoder: StochasticDecoder,
    prompts: Prompts,
    *,
    steps: int,
    samples: int,
    seed: int = 0,
    first_sample: int = 0,
    verifier: Verifier | None = None,
    every: int = 1,
    backend: str = "auto",
) -> Beams:
    """Every ``every`` steps all ``samples`` chains go on from the best answer so far, which stays one of the
    candidates: a round of refinement.

    Source: the idea, Madaan et al., arXiv 2303.17651. Arguments: see :func:`particle_filter`.
    """
    chains = _Resumable(decoder, prompts, seed, first_sample, verifier, backend)
    best, before, checks = chains.start(samples)[:, 0], 0, _checks(steps, every)
    score = chains.score(best[:, None], 0)
    for step in checks:
        w = chains.advance(best[:, None].expand(-1, samples, -1).contiguous(), before, step)
        found = torch.cat((score, chains.score(w, step)), 1)
        best, top = _best(torch.cat((best[:, None], w), 1), found)
        score, before = top[:, None], step
    return Beams(best, score[:, 0], Work(steps * samples, len(checks) * samples + 1))


class Stopped(NamedTuple):
    """What :func:`stop_early` returns."""

    thoughts: Tensor
    """The thoughts at which each prompt stopped ``[B, N, d]``."""
    steps: Tensor
    """Their steps ``[B]``."""


def stop_early(thoughts: Tensor, steps: tuple[int, ...], tolerance: float, *, least_steps: int = 0) -> Stopped:
    """Stop a prompt's chains when successive thoughts agree: at the first asked step, not before ``least_steps``,
    at which the mean thought has moved by at most ``tolerance`` in |.|^2 / d since the asked step before.

    Budget forcing (Muennighoff et al., arXiv 2501.19393): ``least_steps`` forces chains to go on, the last asked
    step truncates them.

    Args:
        thoughts: ``[len(steps), B, N, d]`` as :func:`ttc_fast.decode` returns them.
        steps: the asked steps, ascending.
        tolerance: in units of w squared.
        least_steps: steps that every chain makes.
    """
    check.tensor("thoughts", thoughts, (len(steps), "B", "N", "d"))
    check.number("tolerance", tolerance, low=0.0)
    at = torch.tensor(steps, device=thoughts.device)
    centre = sums.tree_mean(thoughts, 2)
    moved = torch.full(centre.shape[:2], math.inf, dtype=thoughts.dtype, device=thoughts.device)
    moved[1:] = sums.tree_mean((centre[1:] - centre[:-1]).square(), 2)
    agree = (moved <= tolerance) & (at >= least_steps)[:, None]
    agree[-1] = True
    stop = agree.to(torch.uint8).argmax(0)
    chosen = thoughts[stop, torch.arange(thoughts.shape[1], device=thoughts.device)]
    return Stopped(chosen, at[stop])


class AdaptiveVote(NamedTuple):
    """What :func:`adaptive_vote` returns."""

    answer: Tensor
    """``[B, d]``."""
    samples: Tensor
    """Samples spent on each prompt ``[B]``."""
    decided: Tensor
    """Whether the vote was decided before the samples ran out ``[B]`` bool."""


def adaptive_vote(bits: Tensor, error: float = 0.05) -> AdaptiveVote:
    """Vote per coefficient on as many samples as needed: stop once every coefficient is decided.

    A coefficient is decided for its leader when the likelihood ratio of a probability uniform in [1/2, 1]
    against 1/2 exceeds d / error; by Ville's inequality any coefficient of a prompt is ever decided against
    the majority of infinitely many samples with probability at most ``error``, whenever one looks. Source:
    the test of a mixture, Robbins, Annals of Mathematical Statistics 41, 1970; adaptive voting, Aggarwal et
    al., arXiv 2305.11860.

    Args:
        bits: candidates ``[B, N, d]`` of zeros and ones, in the order of sampling.
        error: the stated probability, in (0, 1). Undecided coefficients go by majority, a tie by the first vote.
    """
    check.tensor("bits", bits, ("B", "N", "d"))
    if not 0 < error < 1:
        raise ValueError(f"error: expected a probability between 0 and 1, got {error}")
    samples, dim = bits.shape[1:]
    ones = bits.to(torch.int64).cumsum(1).cpu().numpy()
    seen = np.arange(1, samples + 1)[:, None]
    sure = np.maximum(ones, seen - ones) >= _deciding_lead(samples, math.log(dim / error))[:, None]
    when = np.where(sure.any(axis=1), sure.argmax(axis=1), samples - 1)  # [B, d]
    doubled = 2 * np.take_along_axis(ones, when[:, None], 1)[:, 0] - (when + 1)
    answer = np.where(doubled == 0, ones[:, 0], doubled > 0)
    decided = torch.from_numpy(sure.any(axis=1).all(axis=1))
    return AdaptiveVote(torch.from_numpy(answer).to(bits), torch.from_numpy(when.max(axis=1) + 1), decided)


def _deciding_lead(samples: int, limit: float) -> NDArray[np.int64]:
    """The least votes for a leader among 1, ..., ``samples`` votes with a log likelihood ratio of at least ``limit``
    ``[samples]``; more than there are where none suffice. By bisection: the ratio grows with the lead."""
    seen = np.arange(1, samples + 1)
    low, high = seen // 2, seen + 1  # up to half of the votes the ratio is at most 1
    while (high - low > 1).any():
        lead = (low + high) // 2
        with np.errstate(divide="ignore"):
            share = np.log(betainc(seen - lead + 1, lead + 1, 0.5))
        decides = betaln(lead + 1, seen - lead + 1) + share + (seen + 1) * math.log(2) >= limit
        low, high = np.where(decides, low, lead), np.where(decides, lead, high)
    return high


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
        verifier: Verifier | None,
        backend: str,
    ) -> None:
        if isinstance(decoder.rule, BernoulliSampling) and decoder.rule.sample_at == "last_step":
            raise ValueError(
                "rule: expected sample_at='every_step', got 'last_step': the bits drawn from a thought do not tell how "
                "its chain goes on"
            )
        self.rule, self.prompts, self.seed, self.first_sample = decoder.rule, prompts, seed, first_sample
        self.verifier, self.backend = InContextLoss() if verifier is None else verifier, backend
        seen = context(self.verifier, prompts)
        self.state = decoder.model.prefill(seen).linear

    def start(self, samples: int) -> Tensor:
        """w_0 = 0 for every sample ``[B, N, d]``."""
        check.integer("samples", samples, 1, 2**32)
        return self.state.new_zeros(len(self.state), samples, self.state.shape[1])

    def advance(self, w: Tensor, before: int, step: int) -> Tensor:
        """The chains ``w [B, N, d]`` of step ``before`` continued to ``step``; one that overflowed stays NaN."""
        lost = None
        if not all(math.isfinite(extreme.item()) for extreme in w.aminmax()):  # one pass, where a mask takes four
            lost = ~w.isfinite().all(2, keepdim=True)
            w = w.masked_fill(lost, 0.0)
        thoughts = decode(
            self.state, w, rule=self.rule, steps=[step], samples=w.shape[1], seed=self.seed,
            first_sample=self.first_sample, first_prompt=self.prompts.first, first_step=before, backend=self.backend,
        ).thoughts[0]  # fmt: skip
        return thoughts if lost is None else thoughts.masked_fill(lost, math.nan)

    def score(self, w: Tensor, step: int) -> Tensor:
        """``[B, N]``."""
        return self.verifier(self.prompts, w, first_sample=self.first_sample, step=step)


def _best(w: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """The candidate with the highest score ``[B, d]``, and its score ``[B]``."""
    top, index = score.max(1)
    return w.gather(1, index[:, None, None].expand(-1, 1, w.shape[2]))[:, 0], top


class Chains(NamedTuple):
    """k chains of some prompts for a technique that acts on them: what they think if left alone, and what it takes
    to resume them."""

    decoder: StochasticDecoder
    prompts: Prompts
    """All that the verifier may see."""
    steps: tuple[int, ...]
    """Ascending; the last one is that of the answer."""
    thoughts: Tensor
    """``[len(steps), B, k, d]``."""
    first_sample: int
    """Global index of the first chain."""
    seed: int
    verifier: Verifier
    backend: str

    @property
    def samples(self) -> int:
        """k."""
        return self.thoughts.shape[2]

    def arguments(self) -> dict[str, Any]:
        """The arguments that the searches share."""
        names = ("decoder", "prompts", "seed", "first_sample", "verifier", "backend")
        return {name: getattr(self, name) for name in names} | {"steps": self.steps[-1]}


class Found(NamedTuple):
    """What a technique made of :class:`Chains`."""

    answer: Tensor
    """``[B, d]``."""
    thoughts: Tensor
    """Thoughts spent on each prompt ``[B]``."""
    scores: float = 0
    """Scores spent on each prompt."""


class Search(NamedTuple):
    """A technique that acts during the chain, with what it is for."""

    find: Callable[[Chains], Found]
    about: str
    source: str
    binary_only: bool = False
    resumes: bool = True
    """It decodes chains of its own, step by step; False: it reads the thoughts of the given ones."""


@dataclass(frozen=True)
class ParticleFilter:
    """:func:`particle_filter` with k particles; the answer is their weighted mean."""

    beta: float = INVERSE_TEMPERATURE
    every: int = 1

    def __call__(self, chains: Chains) -> Found:
        result = particle_filter(samples=chains.samples, beta=self.beta, every=self.every, **chains.arguments())
        return _found(result.mean(), result.work)


@dataclass(frozen=True)
class BeamSearch:
    """:func:`beam_search` with k // ``expansions`` beams; with fewer than ``expansions`` chains, one beam of k."""

    expansions: int = 4
    every: int = 1

    def __post_init__(self) -> None:
        check.integer("expansions", self.expansions, 1, 2**32)

    def __call__(self, chains: Chains) -> Found:
        expansions = min(self.expansions, chains.samples)
        beams = chains.samples // expansions
        result = beam_search(beams=beams, expansions=expansions, every=self.every, **chains.arguments())
        return _found(result.answer, result.work)


@dataclass(frozen=True)
class SelfRefinement:
    """:func:`self_refinement` in rounds of ``every`` thoughts, k chains each."""

    every: int = 1

    def __call__(self, chains: Chains) -> Found:
        result = self_refinement(samples=chains.samples, every=self.every, **chains.arguments())
        return _found(result.answer, result.work)


@dataclass(frozen=True)
class StopEarly:
    """The mean of k thoughts at the step where :func:`stop_early` stops them, one of the asked ones."""

    tolerance: float = 1e-3

    def __call__(self, chains: Chains) -> Found:
        stopped = stop_early(chains.thoughts, chains.steps, self.tolerance)
        return Found(sums.tree_mean(stopped.thoughts, 1), stopped.steps * chains.samples)


@dataclass(frozen=True)
class VoteUntilDecided:
    """:func:`adaptive_vote` on at most k chains."""

    error: float = 0.05

    def __call__(self, chains: Chains) -> Found:
        vote = adaptive_vote(chains.thoughts[-1], self.error)
        return Found(vote.answer, vote.samples * chains.steps[-1])


def _found(answer: Tensor, work: Work) -> Found:
    return Found(answer, torch.full((len(answer),), work.thoughts), work.scores)
