"""The chain of thought of any model under any rule, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..numerics import rng, sums
from .draws import Block, Draws
from .rules import Rule

TILE = 2**15
"""Coefficients decoded at a time: the random words of larger tiles fall out of a core's cache."""


Output = Callable[[Tensor], Tensor]
"""u of thoughts ``[B, n, d]``, any n: ``[B, n, d]``."""


def decode(
    begin: Callable[[], Output],
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
    """Thoughts ``[len(steps), B, N, d]`` of the chain w_{t+1} = rule.thought(output(w_t), w_t, draws of step t).

    Args:
        begin: gives the output of new chains, which is called with their thoughts of one step after the other.
        w0: initial thoughts ``[B, d]``, or one for each sample ``[B, N, d]``.
        rule, steps, samples, seed, first_sample, first_prompt, first_step: as in :func:`ttc_fast.decode`, already
            checked.
    """
    prompts, dim = w0.shape[0], w0.shape[-1]
    thoughts = w0.new_empty(len(steps), prompts, samples, dim)
    for n in sums.tiles(samples, TILE // (prompts * dim)):
        _decode_tile(
            begin(), w0[:, n] if w0.ndim == 3 else w0[:, None], thoughts[:, :, n], rule=rule, steps=steps, seed=seed,
            first_sample=first_sample + n.start, first_prompt=first_prompt, first_step=first_step,
        )  # fmt: skip
    return thoughts


def _decode_tile(
    output: Output,
    w: Tensor,
    thoughts: Tensor,
    *,
    rule: Rule,
    steps: Sequence[int],
    seed: int,
    first_sample: int,
    first_prompt: int,
    first_step: int,
) -> None:
    """Write the asked thoughts of the chains from ``w [B, n, d]`` to ``thoughts [len(steps), B, N, d]``.

    As long as all samples agree, n is 1.
    """
    device, rows = w.device, {t: [i for i, asked in enumerate(steps) if asked == t] for t in steps}
    prompt = torch.arange(first_prompt, first_prompt + w.shape[0], device=device)
    sample = torch.arange(first_sample, first_sample + thoughts.shape[2], device=device)
    for i in rows.get(first_step, ()):
        thoughts[i] = w
    w, block = w.mT.contiguous().mT, None  # in memory the samples are last, as vector instructions like it
    for t in range(first_step, max(steps, default=first_step)):
        if block is None or block.number != t // rng.STEPS_PER_BLOCK:
            block = Block(
                t // rng.STEPS_PER_BLOCK, prompt=prompt, sample=sample, dim=w.shape[2], dtype=w.dtype, seed=seed
            )
        draws = Draws(t, block)
        w = rule.thought(output(w), w, draws)
        for i in rows.get(t + 1, ()):
            thoughts[i] = rule.answer(w, draws)
