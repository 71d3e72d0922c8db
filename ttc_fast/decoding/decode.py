"""The decode as one operator of PyTorch, ``torch.ops.ttc_fast.decode``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..numerics import check
from ..numerics.protocols import described
from . import exact
from .arguments import ASKED, Arguments, check_out, check_room, empty_thoughts, unpacked
from .authors_rules import check_ones
from .backends import DECODERS, NORMALS, require_reference, resolve_backend, run_by
from .reference import decode as reference_decode
from .rules import EncodedRule, Rule, check_rule


@dataclass(frozen=True)
class DecodeOutput:
    """What :func:`decode` returns."""

    thoughts: Tensor
    """``[len(steps), B, N, d]``: the thought w_t of every asked step, prompt and sample."""
    steps: tuple[int, ...]
    """The asked steps t."""
    backend: str
    """Name of the backend that ran."""


def decode(
    state: Tensor,
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
    method: Literal["stepwise", "exact"] = "stepwise",
    out: Tensor | None = None,
    checked: bool = False,
) -> DecodeOutput:
    """Decode N stochastic chains of thought for each of B prompts.

    Each step maps a thought w_t to u = w_t + state (w_t, -1) = w_t - P (S w_t - b) and draws w_{t+1}
    from ``rule`` given u. The result is a function of the global indices of prompt, sample,
    coordinate and step and of the seed only: chunks of a run put together equal the whole run, bit
    for bit. Decoding is not differentiable.

    Args:
        state: linear-attention state ``[B, d, d+1]``, float32 or float64 (:meth:`LinearAttention.prefill`).
        w0: initial thought ``[B, d]``, or one for each sample ``[B, N, d]``; dtype and device of ``state``.
        rule: one of ours, such as :class:`GaussianNoise`, or your own :class:`Rule`; one without a
            kernel runs in PyTorch, with the same random numbers.
        steps: the steps t whose thoughts w_t are returned, in any order; 0 is w0 itself.
        samples: N, the decodes per prompt.
        seed: integer in [0, 2^64).
        first_sample: global index of the first sample, for a part of a larger run.
        first_prompt: global index of the first prompt.
        first_step: the step that ``w0`` belongs to, to resume a chain; steps before it cannot be asked.
        backend: a name of :func:`backends`, or ``"auto"`` for the fastest one that can run.
        precision: of the matrix product on tensor cores, where the triton backend runs: ``"fp32"``,
            about that of float32; ``"ieee"``, float32 without tensor cores; ``"tf32"``, one product of
            10-bit fractions, errors about 2^-11 of the thought. The other backends compute in float32.
        method: ``"exact"`` draws the thoughts of the asked steps from their exact joint law, without the steps
            between: the same law from other random words, for :class:`GaussianNoise` only. See ``exact.py``.
        out: where to write the thoughts ``[len(steps), B, N, d]``, such as a part of a larger tensor whose rows ``[N,
            d]`` lie together; by default a new tensor. With it the call is not traced by ``torch.compile``.
        checked: ``state`` and ``w0`` are known to be finite: they are not tested, for which a GPU would be waited for
            and which a CUDA graph could not capture. Under ``torch.compile`` they never are.

    Returns:
        :class:`DecodeOutput` with ``thoughts [len(steps), B, N, d]``.

    Raises:
        TypeError, ValueError: an argument is not as described, or the backend cannot run.

    >>> import torch, ttc_fast as tf
    >>> state = -0.5 * torch.cat((torch.eye(2), torch.ones(2, 1)), 1)[None]  # towards (1, 1), half of the way
    >>> tf.decode(state, torch.zeros(1, 2), rule=tf.GaussianNoise(0.0), steps=[0, 1, 2], samples=1).thoughts[:, 0, 0]
    tensor([[0.0000, 0.0000],
            [0.5000, 0.5000],
            [0.7500, 0.7500]])
    """
    prompts, dim = check_state(state)
    rule = check_rule(rule)
    given = Arguments.checked(w0, prompts, dim, steps, samples, seed, first_sample, first_prompt, first_step)
    if w0.dtype != state.dtype or w0.device != state.device:
        raise ValueError(f"w0: expected {state.dtype} on {state.device} as state, got {w0.dtype} on {w0.device}")
    check.choice("method", method, ("stepwise", "exact"))
    check_room(len(given.steps) * prompts, given.samples, dim, state.dtype)
    if not (checked or torch.compiler.is_compiling() or check.all_finite(state.detach(), w0.detach())):
        check.finite("state", state.detach())
        check.finite("w0", w0.detach())
    encoded = rule.encode(max(given.steps, default=0))
    check_ones(0 if encoded is None else encoded.ones, dim)
    if out is not None:
        check_out(out, w0, given)
    if method == "exact":
        return _decode_exactly(state, w0, rule, encoded, given, backend, precision, out)
    if encoded is None:
        name = require_reference(backend, precision, f"the rule {described(rule)}")
        thoughts = reference_decode(state, w0, rule=rule, out=out, **given.named())
        return DecodeOutput(thoughts, given.steps, name)
    arguments = state.detach(), w0.detach(), *encoded, *given.packed()

    def resolve() -> str:
        return resolve_backend(backend, state.dtype, state.device, dim, precision)

    def run(name: str) -> Tensor:
        operator = torch.ops.ttc_fast.decode if out is None else functools.partial(_decode, out=out)
        thoughts: Tensor = operator(*arguments, name, precision)
        return thoughts

    thoughts, name = run_by(backend, state.device, resolve, run)
    return DecodeOutput(thoughts, given.steps, name)


def check_state(state: Tensor) -> tuple[int, int]:
    """B and d of a linear-attention state.

    Raises:
        TypeError, ValueError: it is no tensor ``[B, d, d+1]`` of floats.
    """
    check.tensor("state", state, ("B", "d", "d+1"))
    prompts, dim, width = state.shape
    if width != dim + 1 or dim == 0:
        raise ValueError(f"state: expected shape [B, d, d+1] with d >= 1, got {list(state.shape)}")
    return prompts, dim


def _decode_exactly(
    state: Tensor,
    w0: Tensor,
    rule: Rule,
    encoded: EncodedRule | None,
    given: Arguments,
    backend: str,
    precision: str,
    out: Tensor | None,
) -> DecodeOutput:
    if encoded is None or encoded.kind != "gaussian":
        raise ValueError(f"method: expected 'stepwise' for {described(rule)}, got 'exact', which needs GaussianNoise")
    if precision != "fp32":
        raise ValueError(f"precision: expected 'fp32' with method='exact', got {precision!r}")
    scales = encoded.scales(max(given.steps, default=0))
    thoughts, name = run_by(
        backend,
        state.device,
        lambda: resolve_backend(backend, state.dtype, state.device, state.shape[1]),
        lambda name: exact.decode(
            state.detach(), w0.detach(), run=DECODERS[name], normals=NORMALS[name], scales=scales, **given.named()
        ),
    )
    return DecodeOutput(thoughts if out is None else out.copy_(thoughts), given.steps, name)


def _decode(state: Tensor, w0: Tensor, *asked: Any, out: Tensor | None = None) -> Tensor:
    *given, backend, precision = asked
    how: dict[str, Any] = {"precision": precision} if backend == "triton" else {}
    return DECODERS[backend](state, w0, **unpacked(*given), **how, **({} if out is None else {"out": out}))


# torch.library.custom_op would do the same, but its first call imports torch._dynamo and with it
# triton: three seconds that a run on the CPU need not wait for.
torch.library.define("ttc_fast::decode", f"(Tensor state, Tensor w0, {ASKED}) -> Tensor")
torch.library.impl("ttc_fast::decode", "CompositeExplicitAutograd")(_decode)
torch.library.register_fake("ttc_fast::decode")(lambda state, w0, *asked: empty_thoughts(w0, *asked))
