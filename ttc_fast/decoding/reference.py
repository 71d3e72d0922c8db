"""The decode of a linear state in plain PyTorch: the definition that every other backend is checked against."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ..numerics import rng, sums
from . import chain
from .draws import Block, Draws
from .rules import Rule


def output(state: Tensor, w: Tensor) -> Tensor:
    """u = w + state (w, -1) of thoughts ``[B, n, d]``: ``[B, n, d]``. With state = (-P S, -P b) it is w - P (S w - b).

    Args:
        state: ``[B, d, d+1]``.
        w: the thoughts.
    """
    columns = w.mT
    return (columns + (sums.matmul(state[:, :, :-1], columns) - state[:, :, -1:])).mT


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
    out: Tensor | None = None,
) -> Tensor:
    """Thoughts ``[len(steps), B, N, d]``.

    Args:
        state, w0, rule, steps, samples, seed, first_sample, first_prompt, first_step, out: as in
            :func:`ttc_fast.decode`, already checked.
    """
    prompts, dim = state.shape[:2]
    thoughts = state.new_empty(len(steps), prompts, samples, dim) if out is None else out
    for b in sums.tiles(prompts, chain.TILE // (dim * max(samples, 1))):
        thoughts[:, b] = chain.decode(
            partial(partial, output, state[b]), w0[b], rule=rule, steps=steps, samples=samples, seed=seed,
            first_sample=first_sample, first_prompt=first_prompt + b.start, first_step=first_step,
        )  # fmt: skip
    return thoughts


def normals(
    prompts: int, samples: int, dim: int, *, seed: int, first_sample: int, first_prompt: int, step: int, like: Tensor
) -> Tensor:
    """The standard normals of a step, those that :class:`GaussianNoise` multiplies by its scale ``[B, N, d]``.

    Args:
        prompts, samples, dim: B, N, d.
        seed, first_sample, first_prompt: as in :func:`ttc_fast.decode`.
        step: from 0.
        like: says dtype and device.
    """
    prompt = torch.arange(first_prompt, first_prompt + prompts, device=like.device)
    sample = torch.arange(first_sample, first_sample + samples, device=like.device)
    block = Block(step // rng.STEPS_PER_BLOCK, prompt=prompt, sample=sample, dim=dim, dtype=like.dtype, seed=seed)
    return Draws(step, block).normal().contiguous()
