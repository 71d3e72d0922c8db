"""The fused decode in C++ (``csrc/``): the backend for every CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..numerics import extension
from .rules import GaussianNoise, Rule


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
    """Thoughts ``[len(steps), B, N, d]``; arguments as in :func:`ttc_fast.decode`, already checked.

    float32 on the CPU only. Runs on ``torch.get_num_threads()`` threads.
    """
    thoughts = torch.empty(len(steps), state.shape[0], samples, state.shape[1])
    scales = torch.zeros(1)
    kind, every_step, temperature = "gaussian", True, 1.0
    if isinstance(rule, GaussianNoise):
        scales = _scales(rule, max(steps, default=0))
    else:
        every_step = rule.sample_at == "every_step"
        kind = "clip" if rule.temperature is None else "sigmoid" if rule.temperature > 0 else "greedy"
        temperature = rule.temperature or 1.0
    extension.loaded().decode_into(
        thoughts.numpy(),
        state.contiguous().numpy(),
        w0.contiguous().numpy(),
        scales.numpy(),
        rule=kind,
        every_step=every_step,
        temperature=temperature,
        steps=list(steps),
        seed=seed,
        first_sample=first_sample,
        first_prompt=first_prompt,
        first_step=first_step,
        threads=torch.get_num_threads(),
        isa=extension.isa(),
    )
    return thoughts


def _scales(rule: GaussianNoise, steps: int) -> Tensor:
    """The schedule in float32: one number if it is constant, whatever the number of steps."""
    scales = rule.scales(steps)
    if scales.stride(0) == 0:
        scales = scales[:1]
    return scales.float().contiguous() if len(scales) else torch.zeros(1)
