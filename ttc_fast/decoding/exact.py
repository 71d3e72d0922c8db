"""The Gaussian chain without its steps: thoughts at the asked steps drawn from their exact joint law.

The chain is linear, so that w_t given an earlier thought is A w + offset + root z (see
:func:`ttc_fast.theory.prompt.transition`): one normal z for each coefficient and *asked* step. Same law as the
stepwise decode, other words: the normals of an asked step stand for all the steps since the one asked before, so
that a thought also depends on which other steps are asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..numerics import sums
from ..theory.gaussian import transition
from . import decode as ops
from .rules import GaussianNoise


def decode(
    state: Tensor,
    w0: Tensor,
    *,
    rule: GaussianNoise,
    steps: Sequence[int],
    samples: int,
    seed: int,
    first_sample: int,
    first_prompt: int,
    first_step: int,
    backend: str,
) -> ops.DecodeOutput:
    """Arguments as in :func:`ttc_fast.decode`, already checked; the backend draws the normals and multiplies."""
    prompts, dim = state.shape[:2]
    scales = rule.scales(max(steps, default=0))
    resolved = ops.resolve_backend(backend, state.dtype, state.device, dim)
    thoughts = state.new_empty(len(steps), prompts, samples, dim)
    before, current = first_step, w0 if w0.ndim == 3 else w0[:, None]
    still = state.new_zeros(state.shape)  # of a transformer that changes nothing
    for t in sorted(set(steps)):
        if t > before:
            law = transition(state, scales[before:t])
            normal = ops.decode(
                still, state.new_zeros(prompts, dim), rule=GaussianNoise(1.0), steps=[t],
                samples=samples, seed=seed, first_sample=first_sample, first_prompt=first_prompt,
                first_step=t - 1, backend=resolved,
            ).thoughts[0]  # fmt: skip
            if current.shape[1] == 1:  # one thought for all samples: the mean needs no decode
                mean = sums.matmul(law.matrix, current.cpu().double().mT)[:, :, 0] + law.offset
                current = _affine(law.root, mean, normal, resolved)
            else:
                noise = _affine(law.root, torch.zeros_like(law.offset), normal, resolved)
                current = _affine(law.matrix, law.offset, current, resolved).add_(noise)
            before = t
        for i in (i for i, asked in enumerate(steps) if asked == t):
            thoughts[i] = current
    return ops.DecodeOutput(thoughts, tuple(steps), resolved)


def _affine(matrix: Tensor, offset: Tensor, w: Tensor, backend: str) -> Tensor:
    """matrix w + offset for w ``[B, N, d]``: one noise-free step of a decode whose state says so."""
    eye = torch.eye(matrix.shape[1], dtype=torch.float64)
    state = torch.cat((matrix - eye, -offset[:, :, None]), 2).to(w)
    return ops.decode(state, w, rule=GaussianNoise(0.0), steps=[1], samples=w.shape[1], backend=backend).thoughts[0]
