"""Searches by weighted particles during the chain: the particle filter, rejection, and resampling. Each search is a
function, and a class of its settings makes a technique of the particle filter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from ..models.decoder import StochasticDecoder
from ..numerics import check, rng, sums
from ..numerics.wide import home, wide
from ..tasks.prompts import Prompts
from .base import Chains, SearchResult
from .resumable import Resumable, equal_work, steps_of_checks
from .verifiers import INVERSE_TEMPERATURE, ScoreFunction, Verifier

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
    beta = check.scale("beta", beta)
    chains = Resumable(decoder, prompts, seed, first_sample, verifier, backend, state)
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
    threshold = check.number("threshold", threshold)

    def potential(score: Tensor) -> Tensor:
        passed = score >= threshold
        return torch.where(passed | ~passed.any(1, keepdim=True), 0.0, -math.inf)

    chains = Resumable(decoder, prompts, seed, first_sample, verifier, backend, state)
    return _filter(chains, potential, steps, samples, every, "residual", 1.0)


def _filter(
    chains: Resumable,
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
    log_weights = torch.full(w.shape[:2], -math.log(samples), dtype=torch.float64, device=home(w.device))
    evidence, sizes, before = torch.zeros_like(log_weights[:, 0]), [], 0
    for step in steps_of_checks(steps, every):
        w = chains.advance(w, before, step)
        log_weights = log_weights + potential(wide(chains.score(w, step)))
        top = log_weights.amax(1)
        total = top + sums.tree_sum((log_weights - top[:, None]).exp(), 1).log()
        evidence = evidence + total
        log_weights = log_weights - total[:, None]
        size = 1 / sums.tree_sum(log_weights.exp().square(), 1)
        sizes.append(size)
        poor = size < ess_threshold * samples
        if step < steps and (poor.device.type != "cpu" or poor.any()):  # a GPU would be waited for
            first = chains.first_sample
            index = resample(log_weights.exp(), resampling, chains.prompts.first, step, chains.seed, first)
            taken = w.gather(1, index.to(w.device)[..., None].expand_as(w))
            w = torch.where(poor.to(w.device)[:, None, None], taken, w)
            log_weights = torch.where(poor[:, None], -math.log(samples), log_weights)
        before = step
    return SearchResult(
        sums.tree_sum(log_weights.exp()[..., None].to(w.dtype).to(w.device) * w, 1),
        equal_work(w, steps * samples, len(sizes) * samples),
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


@dataclass(frozen=True)
class ParticleFilter:
    """:func:`particle_filter` with k particles."""

    beta: float = INVERSE_TEMPERATURE
    every: int = 1

    def __call__(self, chains: Chains) -> SearchResult:
        return particle_filter(samples=chains.samples, beta=self.beta, every=self.every, **chains.arguments())
