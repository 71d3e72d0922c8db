"""The decode in plain PyTorch: the definition that every other backend is checked against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..numerics import rng, sums
from .rules import GaussianNoise, Rule

TILE = 2**15
"""Coefficients decoded at a time: the random words of larger tiles fall out of a core's cache."""


def decode(
    state: Tensor,
    w0: Tensor,
    *,
    rule: Rule,
    steps: Sequence[int],
    samples: int,
    seed: int,
    first_sample: int = 0,
    first_prompt: int = 0,
    first_step: int = 0,
) -> Tensor:
    """Thoughts ``[len(steps), B, N, d]``; arguments as in :func:`ttc_fast.decode`, already checked."""
    prompts, dim = state.shape[:2]
    thoughts = state.new_empty(len(steps), prompts, samples, dim)
    for n in sums.tiles(samples, TILE // dim):
        for b in sums.tiles(prompts, TILE // (dim * (n.stop - n.start))):
            w = w0[b, n] if w0.ndim == 3 else w0[b, None]
            chain = _chain(
                state[b],
                w.transpose(1, 2),
                rule,
                range(first_step, max(steps, default=first_step)),
                torch.arange(first_prompt + b.start, first_prompt + b.stop, device=state.device),
                torch.arange(first_sample + n.start, first_sample + n.stop, device=state.device),
                seed,
            )
            for step, thought in enumerate(chain, first_step):
                for i, asked in enumerate(steps):
                    if asked == step:
                        thoughts[i, b, n] = thought.transpose(1, 2)
    return thoughts


def _chain(
    state: Tensor, w: Tensor, rule: Rule, steps: range, prompt: Tensor, sample: Tensor, seed: int
) -> Iterator[Tensor]:
    """Yields w_t for the first t of ``steps``, then w_{t+1} for every t: ``[b, d, n]``, samples last.

    As long as all samples agree their axis has length 1.
    """
    gaussian = isinstance(rule, GaussianNoise)
    scales = rule.scales(steps.stop).tolist() if isinstance(rule, GaussianNoise) else ()
    stream = rng.Stream.NOISE if gaussian else rng.Stream.BERNOULLI
    coordinate = torch.arange(state.shape[1], device=state.device)[:, None]
    yield w
    for t in steps:
        if t == steps.start or t % rng.STEPS_PER_BLOCK == 0:
            counter = rng.counter(
                stream,
                prompt=prompt[:, None, None],
                sample=sample,
                coordinate=coordinate,
                block=t // rng.STEPS_PER_BLOCK,
            )
            words = rng.philox(counter, seed)
            draws = rng.normals(words, w.dtype) if gaussian else [rng.uniform(v, w.dtype) for v in words]
        draw = draws[t % rng.STEPS_PER_BLOCK]

        # state = (-P S, -P b) and the query is (w, -1): u = w - P (S w - b)
        u = w + (sums.matmul(state[:, :, :-1], w) - state[:, :, -1:])
        if isinstance(rule, GaussianNoise):
            w = u + scales[t] * draw
            yield w
        else:
            bits = (draw < rule.probability(u)).to(w.dtype)
            w = bits if rule.sample_at == "every_step" else u
            yield bits
