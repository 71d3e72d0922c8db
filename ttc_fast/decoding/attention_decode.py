"""The decode of attention states as one operator of PyTorch, ``torch.ops.ttc_fast.decode_attention``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..numerics import check
from ..numerics.protocols import described
from . import chain, native
from .arguments import ASKED, Arguments, check_out, check_room, empty_thoughts, unpacked
from .attention import AttentionState, Heads
from .authors_rules import check_ones
from .backends import decoded, require_reference, resolve_backend, run_by, triton_decode_attention, triton_obstacle
from .decode import DecodeOutput
from .rules import Rule


def attention_backend(state: AttentionState, w0: Tensor, backend: str, precision: str = "fp32") -> str:
    """The backend that ``backend`` stands for, for thoughts of such a state.

    Args:
        state, w0, backend, precision: see :func:`decode_attention`.

    Raises:
        ValueError: it cannot run.
    """
    keys = state.heads[0].keys
    dtype = torch.promote_types(keys.dtype, w0.dtype)
    return resolve_backend(backend, dtype, keys.device, keys.shape[3], precision, {"triton": triton_obstacle(state)})


def decode_attention(
    state: AttentionState,
    w0: Tensor,
    *,
    rule: Rule,
    steps: Sequence[int],
    samples: int,
    seed: int = 0,
    first_sample: int = 0,
    first_prompt: int = 0,
    first_step: int = 0,
    backend: str = "auto",
    precision: str = "fp32",
    out: Tensor | None = None,
) -> DecodeOutput:
    """Decode N stochastic chains for each of B prompts: w_{t+1} is drawn from ``rule`` given u(w_t) of the state.

    Args:
        state: of B prompts, or of all alike.
        w0: initial thought ``[B, d]``, or one for each sample ``[B, N, d]``.
        rule, steps, samples, seed, first_sample, first_prompt, first_step, backend, precision, out: see
            :func:`ttc_fast.decode`.

    Returns:
        :class:`DecodeOutput` with ``thoughts [len(steps), B, N, d]``.

    Raises:
        TypeError, ValueError: an argument is not as described, or the backend cannot run.
    """
    check.tensor("w0", w0, ("B", "N", "d") if getattr(w0, "ndim", 2) == 3 else ("B", "d"))
    prompts, dim = w0.shape[0], state.heads[0].keys.shape[3]
    given = Arguments.checked(w0, prompts, dim, steps, samples, seed, first_sample, first_prompt, first_step)
    if state.prompts not in (1, prompts):
        raise ValueError(f"w0: expected thoughts of {state.prompts} prompts as the state, got {prompts}")
    check_room(len(given.steps) * prompts, given.samples, dim, w0.dtype)
    encoded = rule.encode(max(given.steps, default=0))
    check_ones(0 if encoded is None else encoded.ones, dim)
    if out is not None:
        check_out(out, w0, given)
    if encoded is None:
        name = require_reference(backend, precision, f"the rule {described(rule)}")
        with torch.no_grad():
            thoughts = chain.decode(lambda: state.output, w0, rule=rule, **given.named())
        return DecodeOutput(thoughts if out is None else out.copy_(thoughts), given.steps, name)

    arguments = (
        [part.detach() for one in state.heads for part in (one.keys, one.offsets, one.values)],
        [one.activation for one in state.heads],
        *(None if part is None else part.detach() for part in (state.A, state.c)),
        w0.detach(),
        *encoded,
        *given.packed(),
    )

    def run(name: str) -> Tensor:
        operator = torch.ops.ttc_fast.decode_attention if out is None else functools.partial(_decode, out=out)
        thoughts: Tensor = operator(*arguments, name, precision)
        return thoughts

    def resolve() -> str:
        return attention_backend(state, w0, backend, precision)

    thoughts, name = run_by(backend, w0.device, resolve, run)
    return DecodeOutput(thoughts, given.steps, name)


def _decode(
    parts: list[Tensor],
    activations: list[Any],
    A: Tensor | None,
    c: Tensor | None,
    w0: Tensor,
    *asked: Any,
    out: Tensor | None = None,
) -> Tensor:
    *given, backend, precision = asked
    arguments = unpacked(*given)
    state = AttentionState(tuple(map(Heads, parts[::3], parts[1::3], parts[2::3], activations)), A, c)
    if backend == "native":
        return native.decode_attention(state, w0, out=out, **arguments)
    if backend == "triton":
        return triton_decode_attention(state, w0, precision=precision, out=out, **arguments)
    thoughts = chain.decode(lambda: state.output, w0, **arguments | {"rule": decoded(arguments["rule"])})
    return thoughts if out is None else out.copy_(thoughts)


torch.library.define(
    "ttc_fast::decode_attention",
    f"(Tensor[] parts, str[] activations, Tensor? A, Tensor? c, Tensor w0, {ASKED}) -> Tensor",
)
torch.library.impl("ttc_fast::decode_attention", "CompositeExplicitAutograd")(_decode)
torch.library.register_fake("ttc_fast::decode_attention")(
    lambda parts, activations, A, c, w0, *asked: empty_thoughts(w0, *asked)
)
