"""The fused decode in C++ (``csrc/``): the backend for every CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..numerics import extension
from .attention import AttentionState
from .rules import EncodedRule


def decode(
    state: Tensor,
    w0: Tensor,
    *,
    rule: EncodedRule,
    steps: Sequence[int],
    samples: int,
    seed: int,
    first_sample: int = 0,
    first_prompt: int = 0,
    first_step: int = 0,
    out: Tensor | None = None,
) -> Tensor:
    """Thoughts ``[len(steps), B, N, d]``, on ``torch.get_num_threads()`` threads.

    Args:
        state, w0: float32 on the CPU.
        rule: encoded.
        steps, samples, seed, first_sample, first_prompt, first_step, out: as in :func:`ttc_fast.decode`, already
            checked.
    """
    thoughts = torch.empty(len(steps), state.shape[0], samples, state.shape[1]) if out is None else out
    extension.loaded().decode_into(
        thoughts.numpy(),
        _array(state),
        _array(w0),
        _scales(rule),
        **_named(rule, steps, seed, first_sample, first_prompt, first_step),
    )
    return thoughts


def decode_attention(
    state: AttentionState,
    w0: Tensor,
    *,
    rule: EncodedRule,
    steps: Sequence[int],
    samples: int,
    seed: int,
    first_sample: int = 0,
    first_prompt: int = 0,
    first_step: int = 0,
    out: Tensor | None = None,
) -> Tensor:
    """The same for an attention state.

    Args:
        state, w0: float32 on the CPU.
        rule, steps, samples, seed, first_sample, first_prompt, first_step, out: as in :func:`decode`.
    """
    thoughts = torch.empty(len(steps), w0.shape[0], samples, w0.shape[-1]) if out is None else out
    extension.loaded().decode_attention_into(
        thoughts.numpy(),
        heads=[(*map(_array, (one.keys, one.offsets, one.values)), one.activation) for one in state.heads],
        A=None if state.A is None else _array(state.A),
        c=None if state.c is None else _array(state.c),
        w0=_array(w0),
        scales=_scales(rule),
        **_named(rule, steps, seed, first_sample, first_prompt, first_step),
    )
    return thoughts


def normals(
    prompts: int, samples: int, dim: int, *, seed: int, first_sample: int, first_prompt: int, step: int, like: Tensor
) -> Tensor:
    """The standard normals of a step, those that the decode of Gaussian noise multiplies by its scale ``[B, N, d]``.

    Args:
        prompts, samples, dim: B, N, d.
        seed, first_sample, first_prompt: as in :func:`ttc_fast.decode`.
        step: from 0.
        like: says dtype and device; float32 on the CPU only.
    """
    drawn = extension.loaded().normals(
        prompts, samples, dim, seed=seed, first_sample=first_sample, first_prompt=first_prompt, step=step,
        threads=torch.get_num_threads(), isa=extension.isa(),
    )  # fmt: skip
    return torch.from_numpy(drawn)


def _named(
    rule: EncodedRule, steps: Sequence[int], seed: int, first_sample: int, first_prompt: int, first_step: int
) -> dict[str, Any]:
    """What both decodes of the extension take by name."""
    return {
        "rule": rule.kind, "every_step": rule.every_step, "temperature": rule.temperature, "ones": rule.ones,
        "steps": list(steps), "seed": seed, "first_sample": first_sample, "first_prompt": first_prompt,
        "first_step": first_step, "threads": torch.get_num_threads(), "isa": extension.isa(),
    }  # fmt: skip


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.contiguous().numpy()


def _scales(rule: EncodedRule) -> NDArray[np.float32]:
    """The schedule in float32, at least one number."""
    scales = rule.schedule if len(rule.schedule) else torch.zeros(1)
    return np.ascontiguousarray(scales.numpy(), dtype=np.float32)
