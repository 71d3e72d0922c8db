"""The launch of the decode of attention states: tiles, keys and values in the parts that the kernel reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from . import padded, target
from .attention import attention_kernel
from .decode import EncodedRule, Launch, chain_arguments, chain_constants, launched, options, programs_of
from .tiles import Tile

MAX_GROUPS = 3
"""Groups of heads with one activation and one number of keys; the matrix A is one of them."""

TILES = {16: Tile(32, 2), 32: Tile(16, 2), 64: Tile(16, 4), 128: Tile(16, 8)}
"""Tile of every padded dimension, as ``tiles.TILES``: eight coefficients to a thread."""
KEYS = {16: 32, 32: 32, 64: 32, 128: 16}
"""Keys whose scores are in registers at a time, of every padded dimension."""

_FACTORS = {"softmax": math.log2(math.e), "sigmoid": -math.log2(math.e)}
"""Of scores: the kernel takes powers of two."""


class Heads(Protocol):
    """What the kernel needs of heads (``ttc_fast.decoding.attention.Heads``)."""

    keys: Tensor
    offsets: Tensor
    values: Tensor
    activation: Any


class State(Protocol):
    """What it needs of a state (``ttc_fast.decoding.attention.AttentionState``)."""

    heads: Any
    A: Tensor | None
    c: Tensor | None


def obstacle(state: State) -> str:
    """Why the kernel cannot decode a state; empty if it can.

    Args:
        state: of any kind of heads.
    """
    groups, dim = len(state.heads) + (state.A is not None), state.heads[0].keys.shape[3]
    if groups > MAX_GROUPS:
        return f"it decodes up to {MAX_GROUPS} groups of heads, a matrix A among them, the state has {groups}"
    if padded(dim) not in TILES:
        return f"it decodes attention states of up to {max(TILES)} coefficients, the state has {dim}"
    return ""


def _groups(state: State) -> list[tuple[str, Tensor, Tensor, Tensor]]:
    """(activation, keys, offsets, values); A as a head whose scores are the thought itself."""
    found = [(one.activation, one.keys, one.offsets, one.values) for one in state.heads]
    if state.A is not None:
        unit = torch.eye(state.A.shape[1], device=state.A.device).expand_as(state.A)[:, None]
        found.append(("identity", unit, torch.zeros_like(unit[..., 0]), state.A.mT[:, None]))
    return found


def _in_parts(rows: Tensor) -> Tensor:
    """Three bfloat16, as integers, whose sum is a float32: ``[3, ...]``."""
    parts = []
    for _ in range(3):
        upper = rows.to(torch.bfloat16)
        parts.append(upper.view(torch.int16))
        rows = rows - upper.float()
    return torch.stack(parts)


def packed(state: State) -> dict[str, Any]:
    """Arguments of the kernel that hold the state, in its order: rows of keys padded to D coefficients,
    and those of every head to blocks.

    Args:
        state: float32.
    """
    dim = state.heads[0].keys.shape[3]
    block = KEYS[padded(dim)]
    keys, offsets, values, table, first = [], [], [], [], 0
    for activation, key, offset, value in _groups(state):
        prompts, heads, m, _ = key.shape
        more, factor = -m % block, _FACTORS.get(activation, 1.0)
        wide = (0, padded(dim) - dim, 0, more)
        keys.append(pad(factor * key, wide).reshape(-1, padded(dim)))
        values.append(pad(value, wide).reshape(-1, padded(dim)))
        # A padded key has no weight in a softmax; elsewhere its value is zero.
        offsets.append(pad(factor * offset, (0, more), value=-1e30 if activation == "softmax" else 0.0).reshape(-1))
        rows = heads * (m + more)
        table.append([first, rows if prompts > 1 else 0, heads, (m + more) // block])
        first += prompts * rows
    if first >= 2**31:
        raise ValueError(f"heads: expected fewer than 2^31 keys in all on the GPU, got {first}; decode fewer prompts")
    like = keys[0]
    bias = like.new_zeros(1, padded(dim)) if state.c is None else pad(state.c, (0, padded(dim) - dim)).contiguous()
    return {
        "keys": _in_parts(torch.cat(keys)),
        "offsets": torch.cat(offsets),
        "values": _in_parts(torch.cat(values)),
        "groups": torch.tensor(table, dtype=torch.int32).to(like.device),
        "bias": bias,
        "part": first * padded(dim) // 16,
        "bias_stride": padded(dim) if len(bias) > 1 else 0,
    }


def constants_of(activations: Sequence[str], residual: bool, dim: int) -> dict[str, Any]:
    """Constants of the kernel beside those of ``decode.constants``.

    Args:
        activations: of the groups, up to MAX_GROUPS.
        residual: whether the thought itself is added, there being no matrix A.
        dim: d.
    """
    names = [*activations, *["none"] * (MAX_GROUPS - len(activations))]
    return {"RESIDUAL": residual, "ACT0": names[0], "ACT1": names[1], "ACT2": names[2], "BLOCK": KEYS[padded(dim)]}


def prepare(
    state: State,
    w0: Tensor,
    thoughts: Tensor,
    *,
    rule: EncodedRule,
    precision: str,
    target: str,
    tile: Tile,
    **asked: Any,
) -> Launch:
    """As ``decode.prepare``."""
    prompts, samples, dim = thoughts.shape[1:]
    arguments = packed(state) | chain_arguments(w0, thoughts, rule=rule, **asked)
    given = chain_constants(rule, precision, target, dim, tile)
    given |= constants_of([group[0] for group in _groups(state)], state.A is None, dim)
    return Launch(attention_kernel, programs_of(prompts, samples, tile), arguments, given, options(tile, target))


def decode(
    state: State,
    w0: Tensor,
    *,
    rule: EncodedRule,
    steps: Sequence[int],
    samples: int,
    precision: str = "fp32",
    out: Tensor | None = None,
    **place: Any,
) -> Tensor:
    """Thoughts ``[len(steps), B, N, d]``; arguments as in ``decode.decode``.

    Args:
        state: of which :func:`obstacle` says nothing.
        w0, rule, steps, samples, precision, out: as there.
        place: seed, first_sample, first_prompt, first_step.
    """
    tile = TILES[padded(w0.shape[-1])]
    if w0.device.type == "cpu":  # the interpreter
        tile = tile._replace(samples=64)
    ready = partial(prepare, state, w0, rule=rule, precision=precision, target=target(), tile=tile, **place)
    return launched(ready, w0, steps=steps, samples=samples, first_step=place["first_step"], out=out)
