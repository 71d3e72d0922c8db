"""Searches by weighted particles during the chain: the particle filter, rejection, and resampling. Each search is a
function, and a class of its settings makes a technique of the particle filter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from ..models.decoder import StochasticDecoder
from ..numerics import check, rng, sums
from ..numerics.wide import home, wide
from ..tasks.prompts import Prompts
from .base import Chains, SearchResult, Work
from .groups import Part
from .resumable import Resumable, equal_work, of_one_group, steps_of_checks
from .verifiers import INVERSE_TEMPERATURE, ScoreFunction, Verifier

Resampling: TypeAlias = Literal["multinomial", "systematic", "residual"]

WORDS = 2**18
"""Random words for resampling that are made at a time, for as many checks as they serve."""


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
    found = _filter(chains, [Part(samples)], lambda score: beta * score, steps, every, resampling, ess_threshold)
    return of_one_group(found)


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
        return torch.where(passed | ~passed.any(2, keepdim=True), 0.0, -math.inf)

    chains = Resumable(decoder, prompts, seed, first_sample, verifier, backend, state)
    return of_one_group(_filter(chains, [Part(samples)], potential, steps, every, "residual", 1.0))


def _filter(
    chains: Resumable,
    parts: Sequence[Part],
    potential: Callable[[Tensor], Tensor],
    steps: int,
    every: int,
    resampling: Resampling,
    ess_threshold: float,
) -> SearchResult:
    """A filter for every group of chains, with all of its results ``[B, G, ...]``.

    Args:
        chains, steps, every, resampling, ess_threshold: see :func:`particle_filter`.
        parts: the groups.
        potential: from scores ``[B, G, K]`` to logarithms.
    """
    check.choice("resampling", resampling, ("multinomial", "systematic", "residual"))
    check.number("ess_threshold", ess_threshold, 0.0, 1.0)
    (groups, w), checks = chains.start(parts), steps_of_checks(steps, every)
    place = home(w.device)
    size = groups.table([float(size) for size in groups.sizes])
    even = groups.table([-math.log(size) for size in groups.sizes])
    absent = None if groups.absent is None else groups.absent.to(place)
    uniforms, slot = _Uniforms(chains, checks, resampling), torch.arange(groups.samples.shape[1], device=place)
    log_weights: Tensor = even.expand(len(w), *groups.samples.shape)
    evidence, sizes, before = torch.zeros_like(log_weights[..., 0]), [], 0
    for number, step in enumerate(checks):
        w = chains.advance(w, before, step)
        log_weights = log_weights + potential(wide(groups.rows(chains.score(w, step))))
        if absent is not None:
            log_weights = log_weights.masked_fill(absent, -math.inf)
        top = log_weights.amax(2)
        total = top + sums.tree_sum((log_weights - top[..., None]).exp(), 2).log()
        evidence = evidence + total
        log_weights = log_weights - total[..., None]
        weights = log_weights.exp()
        sizes.append(1 / sums.tree_sum(weights.square(), 2))
        poor = (sizes[-1] < ess_threshold * size[:, 0])[..., None]
        if step < steps and (place.type != "cpu" or poor.any()):  # a GPU would be waited for
            index = torch.where(poor, resample(weights, size, resampling, uniforms[number]), slot)
            w = groups.taken(w, index.to(w.device))
            log_weights = torch.where(poor, even, log_weights)
        before = step
    share = groups.columns(log_weights.exp().to(w.dtype).to(w.device))
    spent = [[steps * k for k in groups.sizes], [len(checks) * k for k in groups.sizes]]
    return SearchResult(
        groups.sum(share[..., None] * w),
        equal_work(len(w), *spent),
        candidates=w,
        log_weights=log_weights,
        log_evidence=evidence,
        effective_samples=torch.stack(sizes),
    )


class _Uniforms:
    """:func:`uniforms` at every check ``[B, G, K]``, made for several together; of the systematic ``[B, G, 1]``."""

    def __init__(self, chains: Resumable, checks: Sequence[int], resampling: Resampling) -> None:
        samples = chains.first_sample + chains.groups.samples
        self._samples = samples[:, :1] if resampling == "systematic" else samples
        self._prompts = chains.prompts.first + torch.arange(len(chains.prompts), device=samples.device)
        self._checks, self._seed = checks, chains.seed
        self._together = max(1, WORDS // (len(self._prompts) * self._samples.numel()))
        self._first, self._block = -1, samples

    def __getitem__(self, number: int) -> Tensor:
        if (first := number - number % self._together) != self._first:
            steps = self._checks[first : first + self._together]
            self._first, self._block = first, uniforms(self._prompts, self._samples, steps, self._seed)
        return self._block[number - first]


def uniforms(prompts: Tensor, samples: Tensor, steps: Sequence[int], seed: int) -> Tensor:
    """Numbers in (0, 1) for resampling, float64 ``[steps, B, G, K]``, named by prompt, sample and step.

    Args:
        prompts: global indices ``[B]``.
        samples: global indices ``[G, K]``.
        steps: of the chain.
        seed: of the random words.
    """
    step = torch.tensor(steps)[:, None, None, None].to(samples.device, non_blocking=True)
    named = rng.counter(rng.Stream.RESAMPLING, prompt=prompts[:, None, None], sample=samples, block=step)
    return (wide(rng.philox(named, seed)[0]) + 0.5) * 2.0**-32


def resample(weights: Tensor, size: Tensor, resampling: Resampling, uniform: Tensor) -> Tensor:
    """Indices ``[B, G, K]`` of particles drawn in proportion to ``weights [B, G, K]``, which sum to 1.

    Particle i is kept N W_i times on average. Source: Douc, Cappe, Moulines, "Comparison of resampling schemes for
    particle filtering", 2005.

    Args:
        weights: of the particles, summing to 1 for each group; zero where no particle is.
        size: N of every group, as float64 ``[G, 1]``; only the first N indices of a group mean anything.
        resampling: the scheme.
        uniform: in (0, 1), for each particle, or one for each group.
    """
    slot = torch.arange(weights.shape[2], device=weights.device)
    if resampling == "systematic":
        return _inverse(weights, (slot + uniform) / size)
    if resampling == "multinomial":
        return _inverse(weights, uniform)
    kept = (size * weights + 1e-9).floor()  # what is whole but for rounding is whole
    certain = kept.sum(2, keepdim=True)
    rest = (size * weights - kept).clamp_min(0.0)
    drawn = _inverse(rest / sums.tree_sum(rest, 2)[..., None].clamp_min(1e-300), uniform)
    copies = torch.searchsorted(kept.cumsum(2), slot.expand_as(drawn).to(kept), right=True)
    return torch.where(slot < certain, copies.clamp_max(weights.shape[2] - 1), drawn)


def _inverse(weights: Tensor, uniform: Tensor) -> Tensor:
    """Quantiles of the law ``weights`` at ``uniform``, both ``[B, G, K]``.

    The weights are rounded to multiples of 2^-52, whose sums below 2 are exact: they do not depend on the order in
    which a device adds them.
    """
    whole = (weights * 2.0**52).round_()
    index = torch.searchsorted(whole.cumsum(2), (uniform * 2.0**52).contiguous(), right=True)
    last = (torch.arange(weights.shape[2], device=weights.device) * (whole > 0)).amax(2, keepdim=True)
    return torch.minimum(index, last)  # rounding may leave the sum below the last uniform


@dataclass(frozen=True)
class ParticleFilter:
    """:func:`particle_filter` with k particles."""

    beta: float = INVERSE_TEMPERATURE
    every: int = 1

    def __call__(self, chains: Chains) -> SearchResult:
        return particle_filter(samples=chains.samples, beta=self.beta, every=self.every, **chains.arguments())

    def together(self, chains: Chains, parts: Sequence[Part]) -> tuple[Tensor, Work]:
        """See :class:`Together`."""
        beta = check.scale("beta", self.beta)
        resumed, steps = Resumable.of(chains), chains.steps[-1]
        found = _filter(resumed, parts, lambda score: beta * score, steps, self.every, "systematic", 1.0)
        return found.answer, found.work
