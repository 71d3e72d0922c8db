"""The Gaussian chain without its steps: thoughts at the asked steps drawn from their exact joint law.

The chain is linear, so that w_t given an earlier thought is A w + offset + root z (``gaussian_chain.py``): one normal
z for each coefficient and *asked* step. Same law as the stepwise decode, other words: the normals of an asked step
stand for all the steps since the one asked before, so that a thought also depends on which other steps are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..numerics import sums
from .gaussian_chain import transition
from .rules import EncodedRule

_NO_NOISE = EncodedRule("gaussian", torch.zeros(1, dtype=torch.float64))


def decode(
    state: Tensor,
    w0: Tensor,
    *,
    run: Callable[..., Tensor],
    normals: Callable[..., Tensor],
    scales: Tensor,
    steps: Sequence[int],
    samples: int,
    seed: int,
    first_sample: int,
    first_prompt: int,
    first_step: int,
) -> Tensor:
    """Thoughts ``[len(steps), B, N, d]``.

    Args:
        run: the backend's decode, which multiplies matrices by thoughts.
        normals: the backend's normals of a step.
        scales: sigma_t of every step, float64 ``[steps]``.
        state, w0, steps, samples, seed, first_sample, first_prompt, first_step: as in :func:`ttc_fast.decode`,
            already checked.
    """
    prompts, dim = state.shape[:2]
    thoughts = state.new_empty(len(steps), prompts, samples, dim)
    before, current = first_step, w0 if w0.ndim == 3 else w0[:, None]
    for t in sorted(set(steps)):
        if t > before:
            law = transition(state, scales[before:t])
            normal = normals(
                prompts, samples, dim, seed=seed, first_sample=first_sample, first_prompt=first_prompt, step=t - 1,
                like=state,
            )  # fmt: skip
            if current.shape[1] == 1:  # one thought for all samples: the mean needs no decode
                mean = sums.matmul(law.matrix, current.cpu().double().mT)[:, :, 0] + law.offset
                current = _affine(run, law.root, mean, normal)
            else:
                noise = _affine(run, law.root, torch.zeros_like(law.offset), normal)
                current = _affine(run, law.matrix, law.offset, current).add_(noise)
            before = t
        for i in (i for i, asked in enumerate(steps) if asked == t):
            thoughts[i] = current
    return thoughts


def _affine(run: Callable[..., Tensor], matrix: Tensor, offset: Tensor, w: Tensor) -> Tensor:
    """matrix w + offset of ``w [B, N, d]``: one step of a decode without noise whose state says so."""
    eye = torch.eye(matrix.shape[1], dtype=torch.float64)
    state = torch.cat((matrix - eye, -offset[:, :, None]), 2).to(w)
    return run(state, w, rule=_NO_NOISE, steps=[1], samples=w.shape[1], seed=0)[0]
