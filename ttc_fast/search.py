"""Inference techniques that act during the chain: step-level search, refinement, and when to stop.

All of them resume chains with :func:`ttc_fast.decode`, so their noise is that of the contract, and they count
their work: thoughts decoded and scores asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from scipy.special import betainc, betaln
from torch import Tensor

from . import check, rng
from .model import StochasticDecoder
from .ops import decode
from .tasks import Prompts
from .verifiers import InContextLoss, Verifier

SEARCHES = {
    "particle_filter": ("resampled by a process reward", "Puri et al., arXiv 2502.01618"),
    "rejection_search": ("below a threshold, replaced", "von Neumann, 1951"),
    "beam_search": ("the best thoughts go on", "Snell et al., arXiv 2408.03314"),
    "self_refinement": ("the best answer is continued", "Madaan et al., arXiv 2303.17651"),
    "stop_early": ("stop when thoughts agree; budget forcing", "Muennighoff et al., arXiv 2501.19393"),
    "adaptive_vote": ("sample until the vote is decided", "Aggarwal et al., arXiv 2305.11860"),
}
"""The techniques of this file, with a line and a source each."""

Resampling: TypeAlias = Literal["multinomial", "systematic", "residual"]


class Work(NamedTuple):
    """What a search spent on each prompt."""

    thoughts: int
    scores: int

    def multiplications(self, prompts: Prompts, verifier: Verifier) -> int:
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
        return (self.log_weights.exp()[..., None].to(self.thoughts) * self.thoughts).sum(1)


def particle_filter(
    decoder: StochasticDecoder,
    prompts: Prompts,
    *,
    steps: int,
    samples: int,
    beta: float,
    seed: int = 0,
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
        steps: length of the chain, at least 1.
        samples: N particles.
        beta: inverse temperature of the potential, in 1/score.
        seed: of the noise and of the resampling.
        verifier: scores the thoughts; default :class:`InContextLoss`.
        every: steps between checks.
        resampling: ``"multinomial"``, ``"systematic"`` or ``"residual"``.
        ess_threshold: from 0 (never resample) to 1 (whenever the weights differ).
        backend: see :func:`ttc_fast.decode`.
    """
    check.number("beta", beta, low=0.0)
    return _filter(
        decoder, prompts, lambda score: beta * score, steps, samples, seed, verifier, every, resampling,
        ess_threshold, backend,
    )  # fmt: skip


def rejection_search(
    decoder: StochasticDecoder,
    prompts: Prompts,
    *,
    steps: int,
    samples: int,
    threshold: float,
    seed: int = 0,
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

    return _filter(decoder, prompts, potential, steps, samples, seed, verifier, every, "residual", 1.0, backend)


def _filter(
    decoder: StochasticDecoder,
    prompts: Prompts,
    potential: Callable[[Tensor], Tensor],
    steps: int,
    samples: int,
    seed: int,
    verifier: Verifier | None,
    every: int,
    resampling: Resampling,
    ess_threshold: float,
    backend: str,
) -> Particles:
    check.choice("resampling", resampling, ("multinomial", "systematic", "residual"))
    check.number("ess_threshold", ess_threshold, 0.0, 1.0)
    verifier = InContextLoss() if verifier is None else verifier
    w = _start(decoder, prompts, samples)
    log_weights = torch.full(w.shape[:2], -math.log(samples), dtype=torch.float64, device=w.device)
    evidence, sizes, before = torch.zeros(len(prompts), dtype=torch.float64, device=w.device), [], 0
    for step in _checks(steps, every):
        w = _advance(decoder, prompts, w, before, step, seed, backend)
        log_weights = log_weights + potential(verifier(prompts, w, step=step).double())
        total = log_weights.logsumexp(1)
        evidence = evidence + total
        log_weights = log_weights - total[:, None]
        size = 1 / log_weights.exp().square().sum(1)
        sizes.append(size)
        poor = size < ess_threshold * samples
        if step < steps and poor.any():
            index = resample(log_weights.exp(), resampling, prompts.first, step, seed)
            w = torch.where(poor[:, None, None], w.gather(1, index[..., None].expand_as(w)), w)
            log_weights = torch.where(poor[:, None], -math.log(samples), log_weights)
        before = step
    work = Work(steps * samples, len(sizes) * samples)
    return Particles(w, log_weights, evidence, torch.stack(sizes), work)


def resample(weights: Tensor, resampling: Resampling, first_prompt: int, step: int, seed: int) -> Tensor:
    """Indices ``[B, N]`` of N particles drawn in proportion to ``weights [B, N]``, which sum to 1.

    Particle i is kept N W_i times on average. Source: Douc, Cappe, Moulines, "Comparison of resampling
    schemes for particle filtering", 2005.
    """
    prompts, samples = weights.shape
    slot = torch.arange(samples, device=weights.device)
    prompt = torch.arange(first_prompt, first_prompt + prompts, device=weights.device)[:, None]
    words = rng.philox(rng.counter(rng.Stream.RESAMPLING, prompt=prompt, sample=slot, block=step), seed)
    uniform = (words[0].double() + 0.5) * 2.0**-32
    if resampling == "systematic":
        return _inverse(weights, (slot + uniform[:, :1]) / samples)
    if resampling == "multinomial":
        return _inverse(weights, uniform)
    kept = (samples * weights + 1e-9).floor()  # what is whole but for rounding is whole
    certain = kept.sum(1, keepdim=True)
    rest = (samples * weights - kept).clamp_min(0.0)
    drawn = _inverse(rest / rest.sum(1, keepdim=True).clamp_min(1e-300), uniform)
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
    verifier: Verifier | None = None,
    every: int = 1,
    backend: str = "auto",
) -> Beams:
    """Every ``every`` steps the ``beams`` best thoughts go on, each in ``expansions`` continuations.

    Source: Snell et al., arXiv 2408.03314.

    Args:
        beams: thoughts kept, at least 1.
        expansions: continuations of each; N = beams * expansions chains run at a time.
        decoder, prompts, steps, seed, verifier, every, backend: see :func:`particle_filter`.
    """
    check.integer("beams", beams, 1, 2**32)
    check.integer("expansions", expansions, 1, 2**32 // beams)
    verifier = InContextLoss() if verifier is None else verifier
    w, before, checks = _start(decoder, prompts, beams * expansions), 0, _checks(steps, every)
    for step in checks:
        w = _advance(decoder, prompts, w, before, step, seed, backend)
        score = verifier(prompts, w, step=step)
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
    rounds: int,
    steps: int,
    samples: int,
    seed: int = 0,
    verifier: Verifier | None = None,
    backend: str = "auto",
) -> Beams:
    """Each round continues the best answer so far in ``samples`` chains of ``steps`` thoughts and keeps the best
    of them and itself.

    Source: the idea, Madaan et al., arXiv 2303.17651. Arguments: see :func:`particle_filter`.
    """
    check.integer("rounds", rounds, 1, 2**32)
    verifier = InContextLoss() if verifier is None else verifier
    best = _start(decoder, prompts, 1)
    score = verifier(prompts, best, step=0)
    for r in range(rounds):
        w = best.expand(-1, samples, -1).contiguous()
        w = _advance(decoder, prompts, w, r * steps, (r + 1) * steps, seed, backend)
        w = torch.cat((best, w), 1)
        score = torch.cat((score, verifier(prompts, w[:, 1:], step=(r + 1) * steps)), 1)
        answer, top = _best(w, score)
        best, score = answer[:, None], top[:, None]
    return Beams(best[:, 0], score[:, 0], Work(rounds * steps * samples, rounds * samples + 1))


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
    centre = thoughts.mean(2)
    moved = torch.full(centre.shape[:2], math.inf, dtype=thoughts.dtype, device=thoughts.device)
    moved[1:] = (centre[1:] - centre[:-1]).square().mean(2)
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
    ones = bits.double().cpu().numpy().cumsum(axis=1)
    seen = np.arange(1, samples + 1)[:, None]
    lead, trail = np.maximum(ones, seen - ones), np.minimum(ones, seen - ones)
    with np.errstate(divide="ignore"):
        ratio = betaln(lead + 1, trail + 1) + np.log(betainc(trail + 1, lead + 1, 0.5)) + (seen + 1) * math.log(2)
    sure = ratio >= math.log(dim / error)
    when = np.where(sure.any(axis=1), sure.argmax(axis=1), samples - 1)  # [B, d]
    doubled = 2 * np.take_along_axis(ones, when[:, None], 1)[:, 0] - (when + 1)
    answer = np.where(doubled == 0, ones[:, 0], doubled > 0)
    decided = torch.from_numpy(sure.any(axis=1).all(axis=1))
    return AdaptiveVote(torch.from_numpy(answer).to(bits), torch.from_numpy(when.max(axis=1) + 1), decided)


def _checks(steps: int, every: int) -> list[int]:
    """Multiples of ``every`` below ``steps``, and ``steps``."""
    check.integer("steps", steps, 1, 2**34)
    check.integer("every", every, 1, 2**34)
    return [*range(every, steps, every), steps]


def _start(decoder: StochasticDecoder, prompts: Prompts, samples: int) -> Tensor:
    """w_0 = 0 for every sample ``[B, N, d]``."""
    check.integer("samples", samples, 1, 2**32)
    return prompts.x.new_zeros(len(prompts), samples, decoder.model.dim)


def _advance(
    decoder: StochasticDecoder, prompts: Prompts, w: Tensor, before: int, step: int, seed: int, backend: str
) -> Tensor:
    """The chains ``w [B, N, d]`` of step ``before`` continued to ``step``."""
    state = decoder.model.prefill(prompts.x, prompts.y)
    return decode(
        state, w, rule=decoder.rule, steps=[step], samples=w.shape[1], seed=seed, first_prompt=prompts.first,
        first_step=before, backend=backend,
    ).thoughts[0]  # fmt: skip


def _best(w: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """The candidate with the highest score ``[B, d]``, and its score ``[B]``."""
    top, index = score.max(1)
    return w.gather(1, index[:, None, None].expand(-1, 1, w.shape[2]))[:, 0], top
